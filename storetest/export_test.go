package storetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// Judge runs one rule of Run, and returns its errors.
func Judge(ctx context.Context, name string, store Store) []string {
	return judge(ctx, storeRules, name, trial{sessions: store, revocations: store})
}

// JudgeLog runs one rule of RunLog, and returns its errors.
func JudgeLog(ctx context.Context, name string, store LogStore) []string {
	return judge(ctx, logRules, name, trial{revocations: store, log: store})
}

func judge(ctx context.Context, rules []rule, name string, c trial) []string {
	i := slices.IndexFunc(rules, func(r rule) bool { return r.name == name })
	if i < 0 {
		panic("there is no rule " + name)
	}
	notes := &recorder{ctx: ctx}
	var check sync.WaitGroup
	check.Go(func() { rules[i].run(notes, c) })
	check.Wait()
	return notes.said
}

// recorder is a tb that records errors.
type recorder struct {
	ctx  context.Context
	mu   sync.Mutex
	said []string
}

func (*recorder) Helper() {}

func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
