package main

import "encoding/json"

// oursStruct is the cell of this library with custom claims in a struct. The library
// encodes the struct at each call. In the cell named by ours, the claims are already JSON.
const oursStruct = ours + ", claims in a struct"

// issueGroup measures issuing with one algorithm. Each token has the same claims, a
// new jti and the time of the call.
func issueGroup(alg string) group {
	return group{name: "issue/" + alg, cells: func() []cell {
		w := newWork(alg)
		cells := []cell{
			nextToRaw(sequential(raw, rawSign(w))),
			nextToRaw(sequential(ours, issuing(ours, w, ourIssue(w, encoded())))),
			nextToRaw(sequential(oursStruct, issuing(oursStruct, w, ourIssue(w, custom{tenant, roles})))),
		}
		if alg == "HS256" {
			cells = append(cells, nextToRaw(sequential(floor, floorIssue(w))))
		}
		for _, p := range peers {
			if p.issue == nil {
				continue
			}
			if issue := p.issue(w); issue != nil {
				cells = append(cells, sequential(p.name, issuing(p.name, w, issue)))
			}
		}
		return cells
	}}
}

// encoded returns the custom claims as JSON.
func encoded() json.RawMessage {
	text, err := json.Marshal(custom{tenant, roles})
	must(err)
	return text
}

// issuing returns a function that issues one token. issuing itself issues a first token and
// checks it with golang-jwt. jwtauth cannot check the tokens of every peer: it refuses the PS256
// tokens of kataras, because their salt is longer than RFC 7518, section 3.5, allows.
func issuing(name string, w *work, issue func() (string, error)) func() {
	token, err := issue()
	must(err)
	verifying(name, golangJWT.verify(w), token)()
	return func() {
		if _, err := issue(); err != nil {
			panic(err)
		}
	}
}
