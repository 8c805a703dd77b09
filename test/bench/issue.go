package main

import "encoding/json"

// oursStruct is this library, which encodes the custom claims each time.
const oursStruct = ours + ", claims in a struct"

// issueGroup is one algorithm, each library with the same claims, a new jti and
// the time of the call.
func issueGroup(alg string) group {
	return group{name: "issue/" + alg, cells: func() []cell {
		w := newWork(alg)
		cells := []cell{
			closely(sequential(raw, rawSign(w))),
			closely(sequential(ours, issuing(ours, w, ourIssue(w, encoded())))),
			closely(sequential(oursStruct, issuing(oursStruct, w, ourIssue(w, custom{tenant, roles})))),
		}
		if alg == "HS256" {
			cells = append(cells, closely(sequential(floor, floorIssue(w))))
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

// encoded are the custom claims as JSON.
func encoded() json.RawMessage {
	text, err := json.Marshal(custom{tenant, roles})
	must(err)
	return text
}

// issuing issues tokens. golang-jwt says of the first one whether it is a good one;
// it also takes the PS256 tokens of kataras, whose salt is as long as can be,
// which RFC 7518, section 3.5, does not allow and this library refuses.
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
