// Package browser tests package endpoints in Chromium. It contains only tests. They drive the
// browser with chromedp, and let it visit sites of the test under several host names.
//
// To run all tests, call this in the root of the repository:
//
//	go test ./test/browser/...
//
// The tests need Chromium or Chrome (on Debian: the package chromium). Without it, the tests are
// skipped with a message. If the environment variable CI is set, they fail instead.
package browser
