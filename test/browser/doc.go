// Package browser tests package endpoints, the module jwtauth.mjs and the page of examples/server in
// Chromium, and the most important scenarios also in Firefox. The tests drive Chromium with chromedp,
// and Firefox with WebDriver BiDi. They let the browsers visit sites of the test under several host names.
//
// chromium_test.go and firefox_test.go start the browsers, and site_test.go has the sites. cookies_test.go,
// crossorigin_test.go, late_test.go and pages_test.go test the handlers. module_test.go and
// turns_test.go test the module against the handlers, with several tabs. example_test.go starts examples/server, and presses
// the buttons of its page. It also runs axe-core, which finds faults that make a page hard to use for
// people with disabilities. keyboard_test.go uses the page without a mouse.
//
// The command screenshots takes the pictures of the page for the documents. The package
// internal/exampleserver starts examples/server for it and for the tests.
//
// To run all tests, call this in the root of the repository:
//
//	go test ./test/browser/...
//
// The tests need Chromium or Chrome (on Debian: the package chromium), and some also Firefox
// (firefox-esr). One needs npm, which installs axe-core. Without them, the tests are skipped with a message. If the environment variable
// CI is set, they fail instead.
package browser
