// An OpenID provider: node provider.mjs PORT CLIENT_SECRET KEYS...
//
// Each of KEYS is a file of private keys. If a file does not exist, it is created with new
// keys. The provider publishes the keys of all files and signs with the keys of the first
// file. Access tokens are JWTs for the requested resource. The path of the resource names
// the algorithm. If PORT is 0, the provider chooses a free port. It prints the port on a
// line once it listens. It exits when its standard input ends.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

const [port, secret, ...files] = process.argv.slice(2);

async function newKey(alg, members) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...await exportJWK(privateKey), ...members };
}

async function load(file) {
  if (!existsSync(file)) {
    writeFileSync(file, JSON.stringify([
      await newKey('RS256', { alg: 'RS256', use: 'sig' }),
      await newKey('ES256', { alg: 'ES256', use: 'sig' }),
      await newKey('EdDSA', {}), // has no alg, because it signs for EdDSA and for Ed25519
    ]), { mode: 0o600 });
  }
  return JSON.parse(readFileSync(file));
}

const keys = (await Promise.all(files.map(load))).flat();
const server = createServer();
server.listen(Number(port), '127.0.0.1', () => {
  const at = server.address().port;
  const provider = new Provider(`http://127.0.0.1:${at}`, {
    clients: [{ client_id: 'robot', client_secret: secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }],
    jwks: { keys },
    scopes: ['read', 'write'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: 'read write',
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: new URL(resource).pathname.slice(1) } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  console.log(at);
});
process.stdin.on('end', () => process.exit()).resume();
