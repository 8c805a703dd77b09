//go:build linux

package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth"
)

// remoteVariable is the environment variable with the place of a store. It makes the test
// binary run a Remote.
const remoteVariable = "JWTAUTH_FAULTS_STORE"

// Remote is a store in another process. It is called through the standard input and output of
// that process. When they are closed, the process ends.
type Remote struct{ store sharedStore }

// RemoteRevocation has the arguments of Revoke.
type RemoteRevocation struct {
	ID    string
	Until time.Time
}

// RemoteAdvance has the arguments of Advance, and RemoteAdvanced its results.
type RemoteAdvance struct {
	Key      jwtauth.SessionKey
	Rotation jwtauth.Rotation
}

type RemoteAdvanced struct {
	Row                 jwtauth.SessionRecord
	Advanced, NoSession bool
}

// RemoteCreate has the arguments of Create. RemoteCreated says whether Create has returned
// ErrSessionExists or ErrSessionLimit.
type RemoteCreate struct {
	Row   jwtauth.SessionRecord
	Limit int
}

type RemoteCreated struct{ Exists, Limit bool }

func (r *Remote) Create(a RemoteCreate, answer *RemoteCreated) error {
	err := r.store.Create(context.Background(), a.Row, a.Limit)
	answer.Exists, answer.Limit = errors.Is(err, jwtauth.ErrSessionExists), errors.Is(err, jwtauth.ErrSessionLimit)
	if answer.Exists || answer.Limit {
		return nil
	}
	return err
}

func (r *Remote) Advance(a RemoteAdvance, answer *RemoteAdvanced) (err error) {
	answer.Row, answer.Advanced, err = r.store.Advance(context.Background(), a.Key, a.Rotation)
	if answer.NoSession = errors.Is(err, jwtauth.ErrNoSession); answer.NoSession {
		return nil
	}
	return err
}

func (r *Remote) Delete(key jwtauth.SessionKey, _ *bool) error {
	return r.store.Delete(context.Background(), key)
}

func (r *Remote) List(key jwtauth.SessionKey, rows *[]jwtauth.SessionRecord) (err error) {
	*rows, err = r.store.List(context.Background(), key.Issuer, key.Subject, "", 1000)
	return err
}

func (r *Remote) Revoke(one RemoteRevocation, _ *bool) error {
	return r.store.Revoke(context.Background(), one.ID, one.Until)
}

func (r *Remote) IsRevoked(ids []string, revoked *bool) (err error) {
	*revoked, err = r.store.IsRevoked(context.Background(), ids...)
	return err
}

// pipes is a connection that consists of two pipes.
type pipes struct {
	io.Reader
	io.WriteCloser
}

// runRemote is the main function of the other process.
func runRemote(config string) int {
	var p place
	if err := json.Unmarshal([]byte(config), &p); err != nil {
		return 1
	}
	store, closeStore, err := p.open()
	if err != nil {
		return 1
	}
	defer closeStore()
	server := rpc.NewServer()
	if err := server.Register(&Remote{store}); err != nil {
		return 1
	}
	server.ServeConn(pipes{os.Stdin, os.Stdout})
	return 0
}

// caller calls a Remote.
type caller struct{ *rpc.Client }

func (c caller) Create(_ context.Context, row jwtauth.SessionRecord, limit int) error {
	var answer RemoteCreated
	err := c.Call("Remote.Create", RemoteCreate{row, limit}, &answer)
	switch {
	case answer.Exists:
		return jwtauth.ErrSessionExists
	case answer.Limit:
		return jwtauth.ErrSessionLimit
	}
	return err
}

func (c caller) Advance(_ context.Context, k jwtauth.SessionKey, r jwtauth.Rotation) (jwtauth.SessionRecord, bool, error) {
	var answer RemoteAdvanced
	err := c.Call("Remote.Advance", RemoteAdvance{k, r}, &answer)
	if answer.NoSession {
		err = jwtauth.ErrNoSession
	}
	return answer.Row, answer.Advanced, err
}

func (c caller) Delete(_ context.Context, k jwtauth.SessionKey) error {
	return c.Call("Remote.Delete", k, new(bool))
}

func (c caller) List(_ context.Context, issuer, subject, after string, limit int) (rows []jwtauth.SessionRecord, err error) {
	err = c.Call("Remote.List", jwtauth.SessionKey{Issuer: issuer, Subject: subject}, &rows)
	return rows, err
}

func (c caller) Revoke(_ context.Context, id string, until time.Time) error {
	return c.Call("Remote.Revoke", RemoteRevocation{id, until}, new(bool))
}

func (c caller) IsRevoked(_ context.Context, ids ...string) (revoked bool, err error) {
	err = c.Call("Remote.IsRevoked", ids, &revoked)
	return revoked, err
}

// remote opens the store in a process of its own, until the test ends.
func (p place) remote(t testing.TB) caller {
	t.Helper()
	config, err := json.Marshal(p)
	require.NoError(t, err)
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(program)
	cmd.Env, cmd.Stderr = append(os.Environ(), remoteVariable+"="+string(config)), os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	client := rpc.NewClient(pipes{out, in})
	t.Cleanup(func() {
		require.NoError(t, client.Close()) // closing the client ends the other process; the end of the test process would, too
		require.NoError(t, cmd.Wait())
	})
	return caller{client}
}
