// Package jsonv2 has the tests that need encoding/json/v2.
package jsonv2
