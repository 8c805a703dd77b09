package interop_test

import (
	"os/exec"
	"testing"

	"github.com/jwtauth-go/jwtauth/jwk"
)

// pyJWT is a Python script. It prints a line with its versions. Then it answers each line of
// its input like node/verify.mjs.
const pyJWT = `
import json, sys
import cryptography, jwt

url, issuer, audience = sys.argv[1:]
keys = jwt.PyJWKClient(url)

def answer(question):
    if "token" not in question:
        keys.get_jwk_set(refresh=True)
        return {}
    try:
        key = keys.get_signing_key_from_jwt(question["token"]).key
        claims = jwt.decode(question["token"], key, algorithms=["RS256", "ES256", "EdDSA"], issuer=issuer, audience=audience)
        return {"subject": claims["sub"]}
    except jwt.PyJWTError as e:
        return {"error": repr(e)}

print(f"PyJWT {jwt.__version__}, cryptography {cryptography.__version__}, Python {sys.version.split()[0]}", flush=True)
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
`

// pythonJose is a Python script like pyJWT.
const pythonJose = `
import json, sys, urllib.request
import jose, jose.jwt

url, issuer, audience = sys.argv[1:]

def fetch():
    with urllib.request.urlopen(url) as response:
        return json.load(response)

keys = fetch()

def answer(question):
    global keys
    if "token" not in question:
        keys = fetch()
        return {}
    try:
        claims = jose.jwt.decode(question["token"], keys, algorithms=["RS256", "ES256"], issuer=issuer, audience=audience)
        return {"subject": claims["sub"]}
    except jose.JOSEError as e:
        return {"error": repr(e)}

print(f"python-jose {jose.__version__}, Python {sys.version.split()[0]}", flush=True)
for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
`

// firstThatRuns returns the first of some commands that runs with args and succeeds. Debian packages
// are only for the Python and the Ruby in /usr/bin, and a command in the PATH can be another one. If
// no command succeeds, the test is skipped; description names for a person what is missing.
func firstThatRuns(t *testing.T, description string, args []string, commands ...string) string {
	t.Helper()
	for _, name := range commands {
		if exec.Command(name, args...).Run() == nil {
			return name
		}
	}
	missing(t, description)
	return ""
}

// pythonWith returns the command of a Python that can import the modules.
func pythonWith(t *testing.T, modules, description string) string {
	t.Helper()
	return firstThatRuns(t, description, []string{"-c", "import " + modules}, "python3", "/usr/bin/python3")
}

// rubyWith returns the command of a Ruby that can load a library.
func rubyWith(t *testing.T, library, description string) string {
	t.Helper()
	return firstThatRuns(t, description, []string{"-r", library, "-e", ""}, "ruby", "/usr/bin/ruby")
}

func TestPyJWTVerifiesOurTokensThroughARotation(t *testing.T) {
	name := pythonWith(t, "cryptography, jwt; jwt.PyJWKClient", "Python 3 with PyJWT and cryptography (python3-jwt and python3-cryptography)")
	says := refusals{"InvalidSignatureError", "InvalidAudienceError", "Unable to find a signing key"}
	verifiesThroughARotation(t, rotations, says, func(t *testing.T, p *published, _ []jwk.Algorithm) peer {
		return startVerifier(t, p, name, "-c", pyJWT)
	})
}

// python-jose looks for no kid. It tries the keys of a set in turn, and stops at a key of another
// type. So the keys of a ring must have one algorithm.
func TestPythonJoseVerifiesOurTokensThroughARotationOfOneAlgorithm(t *testing.T) {
	name := pythonWith(t, "jose.jwt", "Python 3 with python-jose (python3-jose)")
	says := refusals{"Signature verification failed", "Invalid audience", "Signature verification failed"}
	verifiesThroughARotation(t, within(jwk.RS256, jwk.ES256), says, func(t *testing.T, p *published, _ []jwk.Algorithm) peer {
		return startVerifier(t, p, name, "-c", pythonJose)
	})
}
