// OpenID provider for tests: `oidc-provider` (certified) mounted several times in one process.
//   /oidc           generic provider: code + PKCE, client secret, RS256/ES256/EdDSA keys
//   /auth0/         Auth0-shaped access tokens (iss with a trailing slash, permissions, org_id)
//   /realms/test    Keycloak-shaped paths and tokens (realm_access, resource_access, azp)
//   /clerk          Clerk-shaped session tokens: JWKS + POST /test/mint only (no OAuth flow)
// Test controls (loopback only): POST /test/rotate {issuer}, POST /test/mint {issuer, alg, claims, header, ttl, key},
//   POST /test/users {sub, ...claims}, GET /test/state, POST /test/away {away}.  Any sub logs in by login_hint, without a page.
import http from 'node:http';
import { generateKeyPair, exportJWK, SignJWT, importJWK, calculateJwkThumbprint, jwtVerify, createLocalJWKSet } from 'jose';
import { Provider } from 'oidc-provider';

const host = '127.0.0.1';
const server = http.createServer(), port = await new Promise((done) => server.listen(0, host, () => done(server.address().port)));
const base = `http://${host}:${port}`;
const users = new Map([['user-1', { sub: 'user-1', email: 'ada@example.test', email_verified: true, given_name: 'Ada', family_name: 'L', name: 'Ada L', groups: ['dev'] }]]);
const ALGS = ['RS256', 'ES256', 'EdDSA'];
async function newKeys() {
  return Promise.all(ALGS.map(async (alg) => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true, modulusLength: 2048, crv: alg === 'EdDSA' ? 'Ed25519' : undefined });
    const jwk = await exportJWK(privateKey);
    return { ...jwk, alg, use: 'sig', kid: await calculateJwkThumbprint(jwk) };
  }));
}
const pub = ({ d, p, q, dp, dq, qi, ...k }) => k;
const back = ['oidc', 'post', 'spa', 'keycloak', 'auth0'].map((id) => `https://admin.example.test/api/v1/auth/${id}/callback`);
const secret = 'web-secret-0123456789abcdef0123456789', common = { redirect_uris: back, grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] };
const clients = [
  { client_id: 'web', client_secret: secret, token_endpoint_auth_method: 'client_secret_basic', ...common },
  { client_id: 'web-post', client_secret: secret, token_endpoint_auth_method: 'client_secret_post', id_token_signed_response_alg: 'ES256', ...common },
  { client_id: 'spa', token_endpoint_auth_method: 'none', id_token_signed_response_alg: 'EdDSA', ...common },
];
const shapes = {
  oidc: { path: '/oidc', issuer: `${base}/oidc`, aud: 'https://api.mastraadmin.test', optional: true, extra: () => undefined },
  auth0: {
    path: '/auth0', issuer: `${base}/auth0/`, aud: 'https://api.mastraadmin.test', routes: { authorization: '/authorize', token: '/oauth/token', jwks: '/.well-known/jwks.json', userinfo: '/userinfo' },
    extra: (t) => ({ azp: t.clientId, permissions: ['read:projects'], org_id: 'org_abc123', ...(t.kind === 'ClientCredentials' ? { gty: 'client-credentials' } : {}) }),
  },
  keycloak: {
    path: '/realms/test', issuer: `${base}/realms/test`, aud: 'account', resource: 'urn:keycloak:account', routes: { authorization: '/protocol/openid-connect/auth', token: '/protocol/openid-connect/token', jwks: '/protocol/openid-connect/certs', userinfo: '/protocol/openid-connect/userinfo', end_session: '/protocol/openid-connect/logout' },
    extra: (t) => ({ typ: 'Bearer', azp: t.clientId, acr: '1', realm_access: { roles: ['offline_access', 'uma_authorization', 'mastra-admin'] }, resource_access: { web: { roles: ['deployer'] }, account: { roles: ['view-profile'] } }, preferred_username: t.accountId, email_verified: true }),
  },
};
const state = {};
let away = false, fetched = {};
function build(name) {
  const s = shapes[name];
  const provider = new Provider(s.issuer, {
    clients, jwks: { keys: state[name].keys }, routes: s.routes ?? {},
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'given_name', 'family_name', 'groups', 'picture'] },
    conformIdTokenClaims: false, scopes: ['openid', 'offline_access', 'email', 'profile', 'api'],
    enabledJWA: { idTokenSigningAlgValues: ALGS }, pkce: { required: () => true },
    findAccount: async (_ctx, id) => { const u = users.get(id) ?? { sub: id, email: `${id}@example.test`, email_verified: true }; return { accountId: id, claims: async () => ({ ...u, sub: id }) }; },
    cookies: { keys: ['k'] }, ttl: { AccessToken: 300, IdToken: 300, Interaction: 600, Session: 3600, Grant: 3600, ClientCredentials: 300 },
    extraTokenClaims: async (_ctx, token) => s.extra(token), issueRefreshToken: async (_c, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
    interactions: { url: (_ctx, i) => `${s.path}/interaction/${i.uid}` },
    features: {
      devInteractions: { enabled: false }, clientCredentials: { enabled: true }, introspection: { enabled: true }, revocation: { enabled: true },
      resourceIndicators: { enabled: true, defaultResource: (_c, _client, oneOf) => oneOf?.[0] ?? (s.optional ? undefined : s.resource ?? s.aud), useGrantedResource: () => true, getResourceServerInfo: (_c, resource) => ({ scope: 'api openid email profile', audience: resource === s.resource ? s.aud : resource, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'RS256' } } }) },
    },
  });
  provider.proxy = false;
  provider.on('server_error', (_c, e) => console.error(name, e));
  state[name].provider = provider; state[name].cb = provider.callback();
}
async function body(req) { let b = ''; for await (const c of req) b += c; return b ? JSON.parse(b) : {}; }
const json = (res, o, code = 200) => { res.writeHead(code, { 'content-type': 'application/json' }); res.end(JSON.stringify(o)); };
for (const n of [...Object.keys(shapes), 'clerk']) { state[n] = { keys: await newKeys() }; if (shapes[n]) build(n); }
const clerkIss = `${base}/clerk`;
async function mint(o) {
  const name = o.issuer ?? 'clerk', alg = o.alg ?? 'RS256', now = Math.floor(Date.now() / 1000), iss = shapes[name]?.issuer ?? clerkIss;
  const ring = o.key === 'foreign' ? await newKeys() : o.key === 'previous' ? state[name].previous : state[name].keys;
  const defaults = name === 'clerk'
    ? { azp: 'http://localhost:3000', sub: 'user_2abc', sid: 'sess_2abc', v: 2, fva: [0, -1], sts: 'active', pla: 'o:pro', fea: 'o:projects', o: { id: 'org_2abc', slg: 'acme', rol: 'admin', per: 'create,read', fpm: '3' }, ttl: 60 }
    : { sub: 'user-1', aud: shapes[name].aud, ...shapes[name].extra({ clientId: 'web', accountId: 'user-1' }), ttl: 300 };
  const { ttl, ...d } = defaults, exp = now + (o.ttl ?? ttl), claims = { iss, iat: now, nbf: now - 5, exp, ...d, ...o.claims };
  for (const k of Object.keys(claims)) if (claims[k] === null) delete claims[k];
  if (alg === 'none') return [{ alg: 'none' }, claims].map((x) => Buffer.from(JSON.stringify(x)).toString('base64url')).join('.') + '.';
  const jwk = ring.find((k) => k.alg === (alg === 'HS256' ? 'RS256' : alg));
  const key = alg === 'HS256' ? new TextEncoder().encode(JSON.stringify(pub(jwk))) : await importJWK(jwk, alg);
  return new SignJWT(claims).setProtectedHeader({ alg, kid: jwk.kid, typ: 'JWT', ...o.header }).sign(key);
}
server.on('request', async (req, res) => {
  try {
    const p = req.url.split('?')[0];
    if (p === '/test/away' && req.method === 'POST') { away = (await body(req)).away; fetched = {}; return json(res, { away }); }
    if (p === '/test/fetched') return json(res, fetched);
    if (!p.startsWith('/test/')) fetched[p] = (fetched[p] ?? 0) + 1;
    if (away && !p.startsWith('/test/')) return req.socket.destroy();
    if (p === '/test/state') return json(res, Object.fromEntries(Object.entries(state).map(([n, s]) => [n, { issuer: shapes[n]?.issuer ?? clerkIss, kids: s.keys.map((k) => [k.alg, k.kid]) }])));
    if (p === '/test/rotate' && req.method === 'POST') { const { issuer = 'oidc', keepOld = true } = await body(req); const s = state[issuer]; s.previous = s.keys; const fresh = await newKeys(); s.keys = keepOld ? [...fresh, ...s.previous.slice(0, 3)] : fresh; if (shapes[issuer]) build(issuer); return json(res, { kids: s.keys.map((k) => [k.alg, k.kid]) }); }
    if (p === '/test/mint' && req.method === 'POST') return json(res, { token: await mint(await body(req)) });
    if (p === '/test/users' && req.method === 'POST') { const u = await body(req); users.set(u.sub, u); return json(res, u); }
    if (p === '/clerk/.well-known/jwks.json') return json(res, { keys: state.clerk.keys.map(pub) });
    for (const [n, s] of Object.entries(shapes)) {
      if (!p.startsWith(s.path + '/')) continue;
      if (p.startsWith(`${s.path}/interaction/`)) {
        req.originalUrl = req.url; req.url = req.url.slice(s.path.length);
        const { provider } = state[n], d = await provider.interactionDetails(req, res), result = {};
        const accountId = d.session?.accountId ?? d.params.login_hint ?? 'user-1';
        if (d.params.login_hint === 'deny') return provider.interactionFinished(req, res, { error: 'access_denied', error_description: 'denied by test' });
        const grant = (d.grantId && await provider.Grant.find(d.grantId)) || new provider.Grant({ accountId, clientId: d.params.client_id });
        grant.addOIDCScope(d.params.scope ?? 'openid'); for (const r of [s.resource ?? s.aud].concat(d.params.resource ?? [])) grant.addResourceScope(r, d.params.scope ?? 'openid');
        result.login = { accountId, remember: true }; result.consent = { grantId: await grant.save() };
        return provider.interactionFinished(req, res, result);
      }
      if (s.routes && p === s.path + s.routes.userinfo) { // Auth0 and Keycloak take the JWT access token here; oidc-provider would refuse its audience
        try { const t = (req.headers.authorization ?? '').replace(/^bearer /i, ''), { payload } = await jwtVerify(t, createLocalJWKSet({ keys: state[n].keys.map(pub) }), { issuer: s.issuer }); return json(res, { ...(users.get(payload.sub) ?? { email: `${payload.sub}@example.test`, email_verified: true }), sub: payload.sub }); } catch { res.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"' }); return res.end(); }
      }
      req.originalUrl = req.url; req.url = req.url.slice(s.path.length);
      return state[n].cb(req, res);
    }
    json(res, { error: 'not found' }, 404);
  } catch (e) { console.error(e); if (!res.headersSent) json(res, { error: String(e) }, 500); }
});
console.log(`READY ${base}`);
process.on('SIGTERM', () => server.close(() => process.exit(0)).closeAllConnections());
