// Uses the OAuth routes of an issuer with one of four libraries:
// node oauth.mjs LIBRARY ISSUER API
//
// It prints a line with the library. Then it reads lines of JSON, and answers each with a line of
// JSON. A question is {"do", "client": {"id", "secret", "method"}, "token", "hint"}: do names one of
// the functions below. An error of the library is {"error", "type"}: the code in the answer of the
// server, and the type of the error.
import { createInterface } from 'node:readline';

const [library, issuer, api] = process.argv.slice(2);

// metadata reads the metadata of the issuer, for a library without discovery.
async function metadata() {
  const response = await fetch(`${issuer}/.well-known/openid-configuration`);
  return response.json();
}

// describe describes an error of oauth4webapi, or of openid-client, which passes them on.
async function describe(e) {
  const body = e.constructor.name === 'WWWAuthenticateChallengeError' ? await e.response.json() : e;
  return { error: body.error ?? e.code ?? e.message, type: e.constructor.name };
}

const libraries = {
  async oauth4webapi() {
    const oauth = await import('oauth4webapi');
    const authentication = {
      client_secret_basic: ({ secret }) => oauth.ClientSecretBasic(secret),
      client_secret_post: ({ secret }) => oauth.ClientSecretPost(secret),
      none: () => oauth.None(),
    };
    const find = async (algorithm) => {
      const expected = new URL(issuer);
      return oauth.processDiscoveryResponse(expected, await oauth.discoveryRequest(expected, { algorithm }));
    };
    // send sends a request to a route, and processes the response.
    const send = async (request, process, client, ...parameters) => {
      const server = await find('oauth2');
      const caller = { client_id: client.id };
      const response = await request(server, caller, authentication[client.method](client), ...parameters);
      return process(server, caller, response);
    };
    const hinted = (hint) => ({ additionalParameters: { token_type_hint: hint } });
    return {
      describe,
      async discover() {
        const [a, b] = [await find('oauth2'), await find('oidc')];
        if (JSON.stringify(a) !== JSON.stringify(b)) {
          throw new Error('the documents of RFC 8414 and of OpenID Connect differ');
        }
        return a;
      },
      refresh: ({ client, token }) => send(oauth.refreshTokenGrantRequest, oauth.processRefreshTokenResponse, client, token),
      async revoke({ client, token, hint }) {
        await send(oauth.revocationRequest, (server, caller, response) => oauth.processRevocationResponse(response), client, token, hinted(hint));
        return {};
      },
      introspect: ({ client, token, hint }) => send(oauth.introspectionRequest, oauth.processIntrospectionResponse, client, token, hinted(hint)),
      otherGrant: ({ client }) => send(oauth.clientCredentialsGrantRequest, oauth.processClientCredentialsResponse, client, {}),
      async findServer() {
        const resource = new URL(api);
        try {
          await oauth.protectedResourceRequest('none', 'GET', resource);
        } catch (e) {
          const found = e.cause?.[0]?.parameters?.resource_metadata;
          if (found === undefined) {
            throw e;
          }
          const response = await oauth.resourceDiscoveryRequest(resource);
          if (response.url !== found) {
            throw new Error(`the challenge has ${found}`);
          }
          return oauth.processResourceDiscoveryResponse(resource, response);
        }
      },
      async callAPI({ token }) {
        const { status } = await oauth.protectedResourceRequest(token, 'GET', new URL(api));
        const request = new Request(api, { headers: { authorization: `Bearer ${token}` } });
        await oauth.validateJwtAccessToken(await find('oauth2'), request, api); // RFC 9068
        return { status };
      },
    };
  },

  async 'openid-client'() {
    const client = await import('openid-client');
    const authentication = {
      client_secret_basic: ({ secret }) => client.ClientSecretBasic(secret),
      client_secret_post: ({ secret }) => client.ClientSecretPost(secret),
      none: () => client.None(),
    };
    const configure = (c, algorithm) => client.discovery(new URL(issuer), c.id, undefined, authentication[c.method](c), { algorithm });
    const fetchAPI = async (token) => client.fetchProtectedResource(await configure({ id: 'x', method: 'none' }), token, new URL(api), 'GET');
    return {
      describe,
      discover: async () => (await configure({ id: 'x', method: 'none' }, 'oauth2')).serverMetadata(),
      refresh: async ({ client: c, token }) => client.refreshTokenGrant(await configure(c), token),
      async revoke({ client: c, token, hint }) {
        await client.tokenRevocation(await configure(c), token, { token_type_hint: hint });
        return {};
      },
      introspect: async ({ client: c, token, hint }) => client.tokenIntrospection(await configure(c), token, { token_type_hint: hint }),
      otherGrant: async ({ client: c }) => client.clientCredentialsGrant(await configure(c)),
      callAPI: async ({ token }) => ({ status: (await fetchAPI(token)).status }),
    };
  },

  async 'simple-oauth2'() {
    const { AuthorizationCode, ClientCredentials } = await import('simple-oauth2');
    const configure = async (Grant, { id, secret, method }) => {
      const found = await metadata();
      return new Grant({
        client: { id, secret },
        auth: {
          tokenHost: new URL(issuer).origin,
          tokenPath: new URL(found.token_endpoint).pathname,
          revokePath: new URL(found.revocation_endpoint).pathname,
        },
        options: { authorizationMethod: method === 'client_secret_basic' ? 'header' : 'body' },
      });
    };
    return {
      describe: (e) => ({ error: e.data?.payload?.error ?? e.message, type: e.isBoom ? 'Boom' : e.constructor.name }),
      async refresh({ client, token }) {
        const grant = await configure(AuthorizationCode, client);
        return (await grant.createToken({ refresh_token: token }).refresh()).token;
      },
      async revoke({ client, token, hint }) {
        const grant = await configure(AuthorizationCode, client);
        await grant.createToken({ [hint]: token }).revoke(hint);
        return {};
      },
      otherGrant: async ({ client }) => (await configure(ClientCredentials, client)).getToken({}),
    };
  },

  async '@modelcontextprotocol/sdk'() {
    const sdk = await import('@modelcontextprotocol/sdk/client/auth.js');
    const { OAuthError } = await import('@modelcontextprotocol/sdk/server/auth/errors.js');
    const information = ({ id, secret, method }) => ({ client_id: id, client_secret: secret || undefined, token_endpoint_auth_method: method });
    const find = async () => {
      const response = await fetch(api);
      const { resourceMetadataUrl } = sdk.extractWWWAuthenticateParams(response);
      return sdk.discoverOAuthProtectedResourceMetadata(api, { resourceMetadataUrl });
    };
    return {
      describe: (e) => (e instanceof OAuthError ? { error: e.errorCode, type: 'OAuthError' } : { error: e.message, type: e.constructor.name }),
      discover: () => sdk.discoverAuthorizationServerMetadata(issuer),
      findServer: find,
      async refresh({ client, token }) {
        return sdk.refreshAuthorization(issuer, {
          metadata: await sdk.discoverAuthorizationServerMetadata(issuer),
          clientInformation: information(client),
          refreshToken: token,
          resource: new URL((await find()).resource),
        });
      },
      async otherGrant({ client }) {
        const provider = {
          clientMetadata: {},
          clientInformation: () => information(client),
          prepareTokenRequest: () => new URLSearchParams({ grant_type: 'client_credentials' }),
        };
        return sdk.fetchToken(provider, issuer, { metadata: await sdk.discoverAuthorizationServerMetadata(issuer) });
      },
      // authorize does all that a client does before it uses the API. It answers with what the SDK
      // says, and with the tokens that the client then has.
      async authorize({ client, token }) {
        let tokens = { access_token: 'expired', token_type: 'Bearer', refresh_token: token, issuer };
        const result = await sdk.auth({
          redirectUrl: 'https://client.test/callback',
          clientMetadata: { redirect_uris: ['https://client.test/callback'] },
          clientInformation: () => ({ ...information(client), issuer }),
          saveClientInformation: () => {},
          tokens: () => tokens,
          saveTokens: (next) => { tokens = next; },
          invalidateCredentials: (scope) => { if (scope === 'tokens') tokens = undefined; },
          redirectToAuthorization: () => {},
          saveCodeVerifier: () => {},
        }, { serverUrl: api });
        return { result, ...tokens };
      },
    };
  },
};

const functions = await libraries[library]();

async function answer(question) {
  try {
    return await functions[question.do](question);
  } catch (e) {
    return functions.describe(e);
  }
}

console.log(`${library} on Node ${process.version}`);
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}
