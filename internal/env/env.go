// Package env reads the environment variables of the functions that configure a service from its
// environment. Its errors name the variable and what is expected, and never its value.
package env

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxFile is the largest size of a file that a variable names, in bytes.
const maxFile = 64 << 10

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

// File returns the content of the file that a variable names, of at most 64 KiB.
func File(name string) ([]byte, error) {
	path, err := Value(name, "the name of a file")
	if err != nil {
		return nil, err
	}
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("the file of the environment variable %s: %w", name, err)
	}
	return text, nil
}

func readFile(path string) ([]byte, error) {
	switch info, err := os.Stat(path); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // reading a pipe would wait for a writer
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("more than %d bytes", maxFile)}
	}
	return text, err
}
