package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Check asks the engine, or each master of a cluster, whether it can keep the promises of
// this package. Call it when a program starts.
//
// Check returns an error if the engine evicts keys, is older than 6.2 or is a replica, or if
// it does not answer. Each warning is a line of text for the log. It names a setting that
// loses entries if the engine fails, or a setting that could not be read. If there are no
// warnings, the list is nil.
func (s *Store) Check(ctx context.Context) (warnings []string, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return check(ctx, s.client)
	}
	if every := cluster.Options().ClusterStateReloadInterval; every > maxReload {
		warnings = append(warnings, fmt.Sprintf("ClusterStateReloadInterval of the client is %v: after a failover, the client may need that long to find the new master, and all calls fail until then: set it to a second", every))
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		found, err := check(ctx, master)
		mu.Lock()
		defer mu.Unlock()
		for _, w := range found {
			if !seen[w] {
				seen[w], warnings = true, append(warnings, w)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return warnings, nil
}

// maxReload is the longest ClusterStateReloadInterval for which Check does not warn.
const maxReload = 10 * time.Second

// check is Check for one server.
func check(ctx context.Context, c redis.UniversalClient) (warnings []string, err error) {
	text, err := c.Info(ctx).Result()
	if err != nil {
		return nil, failed(ctx, "checking the engine", err)
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	setting := func(name string) string {
		found, _ := c.ConfigGet(ctx, name).Result()
		return found[name]
	}
	policy := info["maxmemory_policy"]
	if policy == "" {
		policy = setting("maxmemory-policy")
	}
	switch version := info["redis_version"]; {
	case info["role"] != "" && info["role"] != "master":
		return nil, fmt.Errorf("redisstore: the engine is a replica: its role is %q", info["role"])
	case isTooOld(version):
		return nil, fmt.Errorf("redisstore: the engine has version %q, 6.2 or later is expected", version)
	case policy != "" && policy != "noeviction" && info["maxmemory"] != "0":
		return nil, fmt.Errorf("redisstore: the engine drops keys when its memory is full: its maxmemory-policy is %q, it must be noeviction", policy)
	case policy == "":
		warnings = append(warnings, "the engine may drop keys when its memory is full: neither INFO nor CONFIG shows its maxmemory-policy, which must be noeviction")
	case policy != "noeviction":
		warnings = append(warnings, fmt.Sprintf("maxmemory-policy is %q, which must be noeviction before maxmemory is set", policy))
	}
	// INFO shows min_slaves_good_slaves only if min-replicas-to-write is set.
	if replicas := info["connected_slaves"]; replicas != "" && replicas != "0" && info["min_slaves_good_slaves"] == "" {
		warnings = append(warnings, "min-replicas-to-write is 0: a master that is cut off from its replicas confirms revocations and sessions that a failover loses")
	}
	switch info["aof_enabled"] {
	case "1":
		if setting("appendfsync") == "no" {
			warnings = append(warnings, "appendfsync is no: if the machine fails, the revocations and sessions of the last half minute or more are lost")
		}
	case "0":
		warnings = append(warnings, "appendonly is off: a restart loses the revocations and sessions since the last snapshot, or all of them")
	default:
		warnings = append(warnings, "the engine may not persist anything: INFO does not show aof_enabled")
	}
	return warnings, nil
}

// isTooOld reports whether a version is before 6.2. It returns false for a version that
// cannot be parsed.
func isTooOld(version string) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	major, err := strconv.Atoi(first)
	minor, errMinor := strconv.Atoi(second)
	return err == nil && errMinor == nil && (major < 6 || major == 6 && minor < 2)
}
