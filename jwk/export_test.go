package jwk

// IsPublic is for the tests of RemoteOptions.PublicOnly.
var IsPublic = isPublic
