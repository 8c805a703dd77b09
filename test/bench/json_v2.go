//go:build goexperiment.jsonv2

package main

// jsonV2 says whether encoding/json runs on its second version.
const jsonV2 = true
