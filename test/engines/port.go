package engines

import (
	"errors"
	"net"
	"strconv"
)

// freePort finds a TCP port that is free on loopback. If busOffset is not 0, the port with
// that distance is free, too.
func freePort(busOffset int) (port string, err error) {
	for range 100 {
		var free bool
		if port, free, err = tryPort(busOffset); free || err != nil {
			return port, err
		}
	}
	return "", errors.New("engines: there are no two free ports with the right distance")
}

func tryPort(busOffset int) (port string, free bool, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", false, err
	}
	defer l.Close()
	number := l.Addr().(*net.TCPAddr).Port
	if busOffset != 0 {
		bus, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(number+busOffset)))
		if err != nil {
			return "", false, nil
		}
		defer bus.Close()
	}
	return strconv.Itoa(number), true, nil
}
