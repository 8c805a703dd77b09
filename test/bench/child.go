package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// report is what the child process of underJSONv2 prints.
type report struct {
	JSONv2 bool
	Groups []*measured
}

// underJSONv2 builds this command with GOEXPERIMENT=jsonv2 and runs it in a child
// process. The child measures only the groups whose names begin with "verify/".
func underJSONv2(p plan) (map[string]*measured, error) {
	c := exec.Command("go", "run", ".", "-json", "-run", "^verify/", "-rounds", strconv.Itoa(p.rounds), "-time", p.slot.String())
	c.Env = append(os.Environ(), "GOEXPERIMENT=jsonv2", "GOWORK=off")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("the run with GOEXPERIMENT=jsonv2 (this command runs in its own folder): %w", err)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, err
	}
	if !r.JSONv2 {
		return nil, errors.New("the run with GOEXPERIMENT=jsonv2 was built without it")
	}
	groups := map[string]*measured{}
	for _, m := range r.Groups {
		groups[m.Group] = m
	}
	return groups, nil
}

// printReport prints the measurements as JSON. underJSONv2 reads them.
func printReport(list []*measured) error {
	return json.NewEncoder(os.Stdout).Encode(report{jsonV2, list})
}
