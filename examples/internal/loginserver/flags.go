package loginserver

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// config has the values of the flags and of their environment variables.
type config struct {
	addr                              string
	issuer, audience                  string   // empty means the URL of the server
	keyFiles                          []string // files, or one directory
	secretEnv                         string
	store                             string // empty if the command has no -store
	accessTTL, refreshTTL, sessionTTL time.Duration
	refreshGrace                      time.Duration // 0 means none
	usersFile                         string
	hashPassword                      bool
	loginLimit                        int
	loginWindow                       time.Duration
	tlsCert, tlsKey                   string
	insecureHTTP                      bool
	trustedProxies                    []netip.Prefix
	logFormat                         string
}

// networkFactor times -login-limit is how often one network may fail for all accounts
// together.
const networkFactor = 10

// flags sets c to the defaults, and returns flags that write to c.
func (cmd Command) flags(c *config) *flag.FlagSet {
	*c = config{
		addr: "127.0.0.1:8080", logFormat: "text",
		accessTTL: 15 * time.Minute, refreshTTL: 7 * 24 * time.Hour, sessionTTL: 30 * 24 * time.Hour,
		refreshGrace: 10 * time.Second, loginLimit: 10, loginWindow: 15 * time.Minute,
	}
	const year = 366 * 24 * time.Hour
	fs := flag.NewFlagSet(cmd.Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // Run prints the error
	fs.Var(text(&c.addr, checkAddr), "addr", "listen on `HOST:PORT`; an address that is not loopback needs -tls-cert or -insecure-http")
	fs.Var(text(&c.issuer, checkIssuer), "issuer", "the iss claim, a `URL` (default: the URL of the server)")
	fs.Var(text(&c.audience, checkAudience), "audience", "the aud claim, a `NAME`, usually a URL (default: the issuer)")
	fs.Var(repeatable{list(&c.keyFiles)}, "key", "a `FILE or DIR` of keys. The flag may repeat with PEM or JWK files: the first key signs, and all are accepted. The variable has a list like PATH. A directory must exist (mkdir -m 700 DIR), and servers may share it. The server makes the first key in the directory, and a SIGHUP makes the next one (default: a new ES256 key)")
	fs.Var(text(&c.secretEnv, nil), "secret-env", "sign with HS256 and the secret in the environment variable `NAME`")
	if cmd.StoreUsage != "" {
		fs.Var(text(&c.store, nil), "store", cmd.StoreUsage)
	}
	fs.Var(duration(&c.accessTTL, time.Second, 24*time.Hour), "access-ttl", "how long an access token lives: a `DURATION`")
	fs.Var(duration(&c.refreshTTL, time.Second, year), "refresh-ttl", "a session ends if it is not refreshed for this `DURATION`")
	fs.Var(duration(&c.sessionTTL, time.Second, year), "session-ttl", "a session ends this `DURATION` after the login, even if it is refreshed")
	fs.Var(grace(&c.refreshGrace), "refresh-grace", "a redeemed refresh token is answered again for this `DURATION`: 4s to 1m, or 0 for never")
	fs.Var(text(&c.usersFile, nil), "users", "a JSON `FILE` of users, [{\"name\", \"password\": \"$argon2id$v=19$m=…\", \"scopes\": […], \"roles\": […]}]; -hash-password makes the password (default: two users with new passwords)")
	fs.Var(toggle{boolean(&c.hashPassword)}, "hash-password", "read a password from standard input, print its hash for -users, and end")
	fs.Var(number(&c.loginLimit, 1, 100), "login-limit", fmt.Sprintf("how often a client may give a wrong password for one account within the window, a `NUMBER`; %d times this number for all accounts together", networkFactor))
	fs.Var(duration(&c.loginWindow, time.Second, 24*time.Hour), "login-window", "the window of -login-limit: a `DURATION`")
	fs.Var(text(&c.tlsCert, nil), "tls-cert", "serve HTTPS with the certificate in this PEM `FILE`")
	fs.Var(text(&c.tlsKey, nil), "tls-key", "the key of -tls-cert: a PEM `FILE`")
	fs.Var(toggle{boolean(&c.insecureHTTP)}, "insecure-http", "serve plain HTTP on an address that is not loopback; others on the network can then read the tokens")
	fs.Var(proxies(&c.trustedProxies), "trusted-proxy", "the `ADDRESSES` or networks of proxies in front, with commas between them, e.g. 127.0.0.1 or 10.1.0.0/16,fd00::/64. The address of a client behind them is the last address in X-Forwarded-For that is not such a proxy (default: the header is ignored)")
	fs.Var(text(&c.logFormat, checkLogFormat), "log", "write the log to standard error as `json or text`")
	return fs
}

// variable returns the environment variable of a flag.
func variable(name string) string {
	return "JWTAUTH_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// parseFlags reads the flags. A flag that is not given gets the value of its environment
// variable, unless the variable is empty. An error names the flag or the variable, the given
// value, and the expected one.
func (cmd Command) parseFlags(args []string, getenv func(string) string) (*config, error) {
	c := &config{}
	fs := cmd.flags(c)
	if err := fs.Parse(args); err != nil {
		return nil, addExpectation(fs, err)
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: flags alone are expected, see -h", fs.Arg(0))
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var first error
	fs.VisitAll(func(f *flag.Flag) {
		value := getenv(variable(f.Name))
		if given[f.Name] || value == "" || first != nil {
			return
		}
		values := []string{value}
		if _, ok := f.Value.(repeatable); ok {
			values = filepath.SplitList(value)
		}
		for _, value := range values {
			if err := f.Value.Set(value); err != nil && first == nil {
				first = fmt.Errorf("invalid value %q for %s: %w", value, variable(f.Name), err)
			}
		}
	})
	return c, first
}

// addExpectation adds the expected value to an error of package flag that does not name it.
func addExpectation(fs *flag.FlagSet, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if name, ok := strings.CutPrefix(err.Error(), "flag needs an argument: -"); ok {
		what, _ := flag.UnquoteUsage(fs.Lookup(name))
		return fmt.Errorf("%w: %s is expected", err, what)
	}
	if strings.HasPrefix(err.Error(), "invalid ") {
		return err
	}
	return fmt.Errorf("%w: one of the flags that -h lists is expected", err)
}

func (cmd Command) printUsage(w io.Writer) {
	fmt.Fprintf(w, "Usage: %s [flags]\n\nEach flag can also be given as an environment variable: -access-ttl as\nJWTAUTH_ACCESS_TTL, and so on. A flag wins over its variable.\n\n", cmd.Name)
	fs := cmd.flags(&config{})
	fs.SetOutput(w)
	fs.PrintDefaults()
}

// value implements flag.Value.
type value struct {
	set          func(string) error
	defaultValue string // as the usage text shows it
}

func (v value) String() string     { return v.defaultValue }
func (v value) Set(s string) error { return v.set(s) }

// toggle is a flag that needs no value on the command line.
type toggle struct{ value }

func (toggle) IsBoolFlag() bool { return true }

// repeatable is a flag that may repeat. Its environment variable has a list like PATH.
type repeatable struct{ value }

func text(p *string, check func(string) error) value {
	return value{defaultValue: *p, set: func(s string) error {
		if s == "" {
			return errors.New("a value that is not empty is expected")
		}
		if check != nil {
			if err := check(s); err != nil {
				return err
			}
		}
		*p = s
		return nil
	}}
}

func list(p *[]string) value {
	return value{set: func(s string) error {
		if s == "" {
			return errors.New("the name of a file or a directory is expected")
		}
		*p = append(*p, s)
		return nil
	}}
}

func duration(p *time.Duration, least, most time.Duration) value {
	return value{defaultValue: p.String(), set: func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < least || d > most {
			return fmt.Errorf("a duration of %v to %v is expected, e.g. 15m", least, most)
		}
		*p = d
		return nil
	}}
}

func grace(p *time.Duration) value {
	return value{defaultValue: p.String(), set: func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d > 0 && d < 4*time.Second || d > time.Minute {
			return errors.New("a duration of 4s to 1m is expected, e.g. 10s, or 0 for none")
		}
		*p = max(d, 0)
		return nil
	}}
}

func number(p *int, least, most int) value {
	return value{defaultValue: strconv.Itoa(*p), set: func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return fmt.Errorf("a number from %d to %d is expected", least, most)
		}
		*p = n
		return nil
	}}
}

func proxies(p *[]netip.Prefix) value {
	return value{set: func(s string) (err error) {
		*p, err = parseProxies(s)
		return err
	}}
}

func boolean(p *bool) value {
	return value{set: func(s string) error {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("true or false is expected")
		}
		*p = b
		return nil
	}}
}

func checkAddr(s string) error {
	_, port, err := net.SplitHostPort(s)
	n, portErr := strconv.Atoi(port)
	if err != nil || portErr != nil || n < 0 || n > 65535 {
		return errors.New("HOST:PORT is expected, e.g. 127.0.0.1:8080")
	}
	return nil
}

// checkIssuer follows RFC 8414, section 2.
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.ContainsAny(s, "?#") || checkAudience(s) != nil {
		return errors.New("a URL without query and fragment is expected, e.g. https://api.example.com")
	}
	return nil
}

func checkAudience(s string) error {
	if len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }) {
		return errors.New("a name without blanks is expected, e.g. https://api.example.com")
	}
	return nil
}

func checkLogFormat(s string) error {
	if s != "json" && s != "text" {
		return errors.New("json or text is expected")
	}
	return nil
}
