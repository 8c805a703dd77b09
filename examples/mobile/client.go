package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// ErrLoggedOut means that the user must log in: there are no tokens, or the session has ended.
var ErrLoggedOut = errors.New("nobody is logged in")

// Client calls an API with the tokens of one user. It is safe for concurrent use. Only one
// process may use a file at the same time.
type Client struct {
	API    string // the URL of the API
	File   string // where the tokens are kept
	Client *http.Client
	Wait   func(ctx context.Context, d time.Duration) error // waits between attempts; nil sleeps

	mu     sync.Mutex
	tokens *tokens // nil if the file has not been read
}

// tokens are what a login or a refresh returns.
type tokens struct {
	AccessToken  string    `json:"access_token"`
	ExpiresIn    int       `json:"expires_in"`
	RefreshToken string    `json:"refresh_token"`
	ReceivedAt   time.Time `json:"received_at"`
}

// ahead is how long before the end of an access token the client refreshes.
const ahead = 30 * time.Second

// attempts is how often a request is sent that gets no answer, or 503.
const attempts = 6

// Login logs a user in.
func (c *Client) Login(ctx context.Context, user, password string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.renew(ctx, "/login", map[string]string{"username": user, "password": password})
}

// Get returns the answer of a path of the API. If the access token was refused as expired, Get
// refreshes and tries once more.
func (c *Client) Get(ctx context.Context, path string) (string, error) {
	token, err := c.accessToken(ctx, "")
	if err != nil {
		return "", err
	}
	status, body, err := c.send(ctx, http.MethodGet, path, token, nil)
	if err == nil && status == http.StatusUnauthorized && told(body).Next == "refresh" {
		if token, err = c.accessToken(ctx, token); err != nil {
			return "", err
		}
		status, body, err = c.send(ctx, http.MethodGet, path, token, nil)
	}
	switch {
	case err != nil:
		return "", err
	case status == http.StatusUnauthorized:
		return "", ErrLoggedOut
	case status != http.StatusOK:
		return "", fmt.Errorf("the API answered %d: %s", status, body)
	}
	return string(body), nil
}

// accessToken returns an access token that is not about to expire, and not refused. Calls at the
// same time share one refresh.
func (c *Client) accessToken(ctx context.Context, refused string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tokens == nil {
		c.tokens = load(c.File)
	}
	t := c.tokens
	switch {
	case t.RefreshToken == "":
		return "", ErrLoggedOut
	case t.AccessToken != refused && time.Since(t.ReceivedAt) < time.Duration(t.ExpiresIn)*time.Second-ahead:
		return t.AccessToken, nil
	}
	err := c.renew(ctx, "/refresh", map[string]string{"refresh_token": t.RefreshToken})
	return c.tokens.AccessToken, err
}

// renew gets new tokens and keeps them. If the answer is lost, the old refresh token stays good,
// so renew sends it again, also after a restart of the program. The server tells such a
// repetition from a theft, as long as nobody has used the lost answer.
func (c *Client) renew(ctx context.Context, path string, fields map[string]string) error {
	status, body, err := c.send(ctx, http.MethodPost, path, "", fields)
	if err != nil {
		return err
	}
	t := &tokens{ReceivedAt: time.Now()}
	switch {
	case status == http.StatusBadRequest && path == "/refresh" && told(body).Error == "invalid_grant": // the only answer that ends the login
		c.tokens = t
		return errors.Join(ErrLoggedOut, save(c.File, t))
	case status != http.StatusOK:
		return fmt.Errorf("the server answered %d: %s", status, body)
	}
	if err := json.Unmarshal(body, t); err != nil || t.AccessToken == "" {
		return fmt.Errorf("the server answered no tokens: %w", err)
	}
	// The file is written first: if the program ends between the two, nothing is lost.
	if err := save(c.File, t); err != nil {
		return err
	}
	c.tokens = t
	return nil
}

// send sends a request. If there is no answer, or 503, it waits longer each time and tries
// again. It waits at least as long as Retry-After says.
func (c *Client) send(ctx context.Context, method, path, token string, fields map[string]string) (status int, body []byte, err error) {
	for n := range attempts {
		var wait time.Duration
		status, body, wait, err = c.sendOnce(ctx, method, path, token, fields)
		if err == nil && status != http.StatusServiceUnavailable || ctx.Err() != nil || n == attempts-1 {
			break
		}
		if waitErr := c.wait(ctx, max(wait, time.Second<<n)); waitErr != nil {
			return 0, nil, waitErr
		}
	}
	return status, body, err
}

func (c *Client) sendOnce(ctx context.Context, method, path, token string, fields map[string]string) (status int, body []byte, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var content io.Reader
	if fields != nil {
		text, _ := json.Marshal(fields) // a map of texts has no error
		content = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.API+path, content)
	if err != nil {
		return 0, nil, 0, err
	}
	if fields != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := c.Client
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, nil, 0, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	return answer.StatusCode, body, min(time.Duration(seconds)*time.Second, 5*time.Minute), err
}

func (c *Client) wait(ctx context.Context, d time.Duration) error {
	if c.Wait != nil {
		return c.Wait(ctx, d)
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// told returns the error in an answer of the server, and what it tells the client to do.
func told(body []byte) (answer struct{ Error, Next string }) {
	_ = json.Unmarshal(body, &answer) // the answer of a proxy tells nothing
	return answer
}

// load reads the tokens of the last run. Without a file, nobody is logged in.
func load(file string) *tokens {
	t := &tokens{}
	if text, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(text, t) // a file that cannot be read is no login
	}
	return t
}

// save replaces the file at once, so that a crash leaves the old or the new tokens.
func save(file string, t *tokens) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
