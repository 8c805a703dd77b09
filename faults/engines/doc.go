// Package engines starts redis-server and PostgreSQL for tests, so that a test can
// kill them, pause them and start them again. Each server has a free port of loopback
// and a temporary folder of its own, and none outlives the test that started it,
// however that ends. It needs the standard library alone, and Linux.
package engines
