// Package view converts between strings and byte slices without a copy. It is the
// only package of this module that imports unsafe.
package view

import "unsafe"

// String returns the bytes as a string. The bytes must not change while the string
// is in use.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Bytes returns the text as a byte slice, which must not be written to.
func Bytes(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }
