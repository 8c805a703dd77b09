package engines

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy forwards TCP connections to a server. It can cut the connections and delay the
// answers.
type Proxy struct {
	target   string
	listener net.Listener
	delay    atomic.Int64 // nanoseconds
	running  sync.WaitGroup

	mu     sync.Mutex // guards the following fields
	closed bool
	open   map[*net.TCPConn]bool
}

// NewProxy starts a proxy of a server's address. The proxy ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: l, open: map[*net.TCPConn]bool{}}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Cut()
		p.running.Wait()
	})
	return p
}

// Addr returns the address that clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Delay delays each piece of an answer by d from now on. 0 ends that.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Cut resets all connections (TCP RST).
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		_ = conn.SetLinger(0)
		conn.Close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.forward(client.(*net.TCPConn)) })
	}
}

// register remembers a connection for Cut. It returns false if the proxy has ended.
func (p *Proxy) register(conn *net.TCPConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.open[conn] = true
	return true
}

// closeConn closes a connection and forgets it.
func (p *Proxy) closeConn(conn *net.TCPConn) {
	conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, conn)
}

func (p *Proxy) forward(client *net.TCPConn) {
	defer p.closeConn(client)
	conn, err := net.DialTimeout("tcp", p.target, time.Second)
	if err != nil {
		_ = client.SetLinger(0)
		return
	}
	server := conn.(*net.TCPConn)
	defer p.closeConn(server)
	if !p.register(client) || !p.register(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copyBytes(server, client, false) })
	both.Go(func() { p.copyBytes(client, server, true) })
	both.Wait()
}

// copyBytes copies one direction of a connection. If that direction ends, it ends both.
func (p *Proxy) copyBytes(to, from *net.TCPConn, answers bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if d := time.Duration(p.delay.Load()); n > 0 && answers && d > 0 {
			time.Sleep(d)
		}
		if _, failed := to.Write(buffer[:n]); failed != nil || err != nil {
			return
		}
	}
}
