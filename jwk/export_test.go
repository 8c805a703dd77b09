package jwk

import "net/http"

// IsPublic is for the tests of RemoteOptions.PublicOnly.
var IsPublic = isPublic

// UsesProxy reports whether the default client of r uses the proxy of the environment.
func UsesProxy(r *Remote) bool { return r.fetcher.client.Transport.(*http.Transport).Proxy != nil }
