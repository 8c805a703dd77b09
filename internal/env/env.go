// Package env reads the environment variables of the functions that configure a service from its
// environment. Its errors name the variable and what is expected.
package env

import (
	"fmt"
	"os"
	"strings"
)

// Value returns the value of a variable. It is an error if the variable is not set or empty. what says
// what is expected.
func Value(name, what string) (string, error) {
	value := os.Getenv(name)
	if value == "" {
		return "", fmt.Errorf("the environment variable %s is not set: %s is expected", name, what)
	}
	return value, nil
}

// List returns the values of a variable that has commas between them, without blanks around them.
func List(name, what string) ([]string, error) {
	value, err := Value(name, what)
	if err != nil {
		return nil, err
	}
	var list []string
	for one := range strings.SplitSeq(value, ",") {
		if one = strings.TrimSpace(one); one == "" {
			return nil, fmt.Errorf("the environment variable %s has an empty value between its commas: %s is expected", name, what)
		}
		list = append(list, one)
	}
	return list, nil
}
