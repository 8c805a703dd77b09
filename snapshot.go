package jwtauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// snapshot is what Snapshot writes and Seed reads.
type snapshot struct {
	Source string          `json:"source"`
	Set    json.RawMessage `json:"jwks"`
	At     int64           `json:"fetched_at"`
	Fresh  int64           `json:"fresh_to"`
}

// Snapshot returns the keys with their dates, for Seed of a later process; nil
// where there are none.
func (r *RemoteKeySet) Snapshot() []byte {
	if r.made() != nil || r.keys.Load() == nil {
		return nil
	}
	keys := r.keys.Load()
	set, err := encodeKeySet(keys.table.all)
	if err != nil { // cannot be: they were decoded
		return nil
	}
	text, err := json.Marshal(snapshot{r.source, set, keys.at.Unix(), keys.fresh.Unix()})
	if err != nil {
		return nil
	}
	return text
}

// plant takes what Snapshot has returned. The keys are due to be fetched.
func (r *RemoteKeySet) plant(seed []byte) error {
	var s snapshot
	if err := json.Unmarshal(seed, &s); err != nil {
		return err
	}
	if s.Source != r.source {
		return fmt.Errorf("it is of %s, not of %s", quoted(s.Source), quoted(r.source))
	}
	table, _, err := parseKeySet(string(s.Set), nil)
	if err != nil {
		return err
	}
	if s.At < 0 || s.At > r.o.Now().Add(maxSkew).Unix() || s.Fresh < s.At || s.Fresh-s.At > int64(r.o.MaxAge/time.Second)+1 { // they are cut to seconds
		return errors.New("its dates lie ahead, or further apart than MaxAge")
	}
	keys := &remoteKeys{table: table, at: time.Unix(s.At, 0), fresh: time.Unix(s.Fresh, 0)}
	keys.usable = keys.fresh.Add(r.o.MaxStale)
	r.keys.Store(keys)
	return nil
}
