package strictjson

// IsTwice is isTwice for tests: two names with one hash cannot be made.
var IsTwice = isTwice
