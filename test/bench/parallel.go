package main

import (
	"net/http"
	"runtime"
	"sync"
	"time"
)

// The names of the tasks that are measured on one core and on two cores. The suffix oneCore or
// twoCores makes the name of a cell.
const (
	parallelRaw  = "raw ES256"
	parallelNew  = "jwtauth, new ES256 tokens, cache and revocations"
	parallelHot  = "jwtauth, one hot token"
	parallelMany = "jwtauth, 10,000 tokens"
	oneCore      = ", 1 core"
	twoCores     = ", 2 cores"
)

// parallelGroup measures each task on one core and on two cores. Its times are the elapsed time
// divided by the number of operations of all cores.
func parallelGroup() group {
	return group{name: "parallel", slot: 150 * time.Millisecond, cells: func() []cell {
		es, hs := newWork("ES256"), newWork("HS256")
		token, many := es.token(), es.tokens(10_000)
		allOn := es.verifier(withRevocations(revoked(fewRevoked)))
		cached := es.verifier()
		hsUncached, hsToken := hs.verifier(withoutCache), hs.token()
		var cells []cell
		// add adds the cells of a task. newOp returns the operation of one goroutine.
		add := func(name string, newOp func() func()) {
			ops := []func(){newOp(), newOp()}
			cells = append(cells, cores(name, func(goroutine, n int) func() { return ops[goroutine] })...)
		}
		warm := verifying(ours, ourVerify(cached), many...)
		for range many {
			warm()
		}
		add(parallelRaw, func() func() { return rawVerify(es, token) })
		fresh := cores(parallelNew, func(_, n int) func() { return verifying(ours, ourVerify(allOn), es.fresh(n)...) })
		fresh[0].done = onlyMisses(allOn)
		cells = append(cells, fresh...)
		add(parallelHot, func() func() { return verifying(ours, ourVerify(cached), many[0]) })
		add(parallelMany, func() func() { return verifying(ours, ourVerify(cached), shuffled(many)...) })
		cells[len(cells)-1].done = onlyHits(cached)
		add("jwtauth, HS256, cache off", func() func() { return verifying(ours, ourVerify(hsUncached), hsToken) })
		add("golang-jwt, ES256", func() func() { return verifying(golangJWT.name, golangJWT.verify(es), token) })
		add("golang-jwt, HS256", func() func() { return verifying(golangJWT.name, golangJWT.verify(hs), hsToken) })
		add("middleware: "+contextValue, func() func() { return serving("", contextOnly, nil, token).once })
		add("middleware: "+repeated, func() func() { return serving("", nil, cached, many[0]).once })
		for _, p := range []peer{echoJWT, auth0, chi} {
			add("middleware: "+p.name+", ES256", func() func() {
				return serving(p.name, func(seen func(string)) http.Handler { return p.middleware(es, seen) }, nil, token).once
			})
		}
		return cells
	}}
}

// cores returns the two cells of one task: with one core and with two. newOp returns the operation
// that a goroutine then runs n times.
func cores(name string, newOp func(goroutine, n int) func()) []cell {
	var cells []cell
	for i, suffix := range []string{oneCore, twoCores} {
		cells = append(cells, cell{name: name + suffix, adjacent: name, time: func(n int) time.Duration {
			var ops []func()
			for g := range i + 1 {
				ops = append(ops, newOp(g, n))
			}
			return together(ops, n) / time.Duration(len(ops))
		}})
	}
	return cells
}

// together runs each operation n times in a goroutine of its own, sets GOMAXPROCS to the number
// of goroutines, and returns the elapsed time.
func together(ops []func(), n int) time.Duration {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(len(ops)))
	var all sync.WaitGroup
	begin := make(chan struct{})
	for _, op := range ops {
		all.Go(func() {
			<-begin
			for range n {
				op()
			}
		})
	}
	start := time.Now()
	close(begin)
	all.Wait()
	return time.Since(start)
}
