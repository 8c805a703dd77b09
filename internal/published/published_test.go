package published_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jwtauth-go/jwtauth/internal/published"
)

var document = published.New("application/json", time.Hour, []byte(`{"keys":[`+strings.Repeat(`"x",`, 1000)+`"x"]}`))

func get(header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = header
	answer := httptest.NewRecorder()
	document.ServeHTTP(answer, r)
	return answer
}

// A document is small. Its parts, each with a header of its own, are larger than the whole
// (RFC 9110, section 14.2: a server may ignore Range).
func TestRangesAreIgnored(t *testing.T) {
	whole := get(http.Header{})
	require.Equal(t, http.StatusOK, whole.Code)
	parts := "bytes=0-0"
	for n := 1; n < 1000; n++ {
		parts += fmt.Sprintf(",%d-%d", n, n)
	}
	for _, value := range []string{parts, "bytes=1-2", "bytes=-5", "bytes=9999999-", "bytes=2-1", "x"} {
		header := http.Header{"Range": {value}}
		answer := get(header)
		require.Equal(t, whole.Code, answer.Code, "%.20s", value)
		require.Equal(t, whole.Body.String(), answer.Body.String())
		require.Equal(t, http.Header{"Range": {value}}, header, "the request has changed")
		header["If-None-Match"] = []string{whole.Header().Get("ETag")}
		require.Equal(t, http.StatusNotModified, get(header).Code)
	}
}
