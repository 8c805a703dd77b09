//go:build !goexperiment.jsonv2

package main

// jsonV2 is true if the program was built with GOEXPERIMENT=jsonv2.
const jsonV2 = false
