package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

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

// pythonWith returns the command of a Python that can import the modules. It tries the python3 in
// the PATH first, and then the python3 of the system, for which Debian packages the modules.
// description names them for a person.
func pythonWith(t *testing.T, modules, description string) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import "+modules).Run() == nil {
			return name
		}
	}
	missing(t, description)
	return ""
}

func TestPyJWTVerifiesOurTokensThroughARotation(t *testing.T) {
	name := pythonWith(t, "cryptography, jwt; jwt.PyJWKClient", "Python 3 with PyJWT and cryptography (python3-jwt and python3-cryptography)")
	says := refusals{"InvalidSignatureError", "InvalidAudienceError", "Unable to find a signing key"}
	verifiesThroughARotation(t, says, func(t *testing.T, p *published, _ []jwk.Algorithm) peer {
		authority := filepath.Join(t.TempDir(), "ca.pem")
		require.NoError(t, os.WriteFile(authority, p.ca, 0o600))
		c := start(t, []string{"SSL_CERT_FILE=" + authority, "no_proxy=127.0.0.1"}, name, "-c", pyJWT, p.jwks, p.url, audience)
		t.Log(c.line(t))
		return childPeer{p, c}
	})
}
