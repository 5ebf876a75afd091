// A strict fake of the part of GitHub that an App-based deploy platform uses: REST paths checked against GitHub's own
// OpenAPI description (@octokit/openapi), real payloads for webhooks (@octokit/webhooks-examples), independent signatures
// (@octokit/webhooks-methods), and private repositories served over HTTP by `git http-backend`.
// usage: server.mjs PORT DATADIR [APP_PUBLIC_KEY_PEM]   APP id 4242.  Violations of the description are listed at GET /test/violations.
import http from 'node:http';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import crypto from 'node:crypto';
import { spawn, execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { sign } from '@octokit/webhooks-methods';
const require = createRequire(import.meta.url);
const Ajv = require('ajv').default ?? require('ajv'); const addFormats = require('ajv-formats').default ?? require('ajv-formats');
const examplesPkg = require('@octokit/webhooks-examples'); const webhookExamples = examplesPkg.default ?? examplesPkg;

const [port, data, pemFile] = [Number(process.argv[2]), process.argv[3], process.argv[4]];
const APP_ID = 4242, base = `http://127.0.0.1:${port}`, t0 = Date.now();
const specFile = path.join(path.dirname(require.resolve('@octokit/openapi/package.json')), 'generated/api.github.com.json');
const spec = JSON.parse(fs.readFileSync(specFile));
const ajv = new Ajv({ strict: false, allErrors: true, validateSchema: false, validateFormats: true, logger: false }); addFormats(ajv, ['date-time', 'uri', 'email', 'uuid']);
// OpenAPI 3.0 `nullable` in terms of JSON Schema
function plain(o, k) { if (Array.isArray(o)) return o.map((x) => plain(x)); if (!o || typeof o !== 'object' || k === 'example' || k === 'examples') return o; const r = {}; for (const n in o) if (!(n === 'nullable' && o[n] === true)) r[n] = plain(o[n], n); return o.nullable === true ? { anyOf: [{ type: 'null' }, r] } : r; }
ajv.addSchema({ $id: 'gh', components: { schemas: plain(spec.components.schemas), parameters: spec.components.parameters, responses: plain(spec.components.responses) }, paths: plain(spec.paths) });
const cache = new Map();
const esc = (s) => s.replace(/~/g, '~0').replace(/\//g, '~1').replace(/%/g, '%25').replace(/\{/g, '%7B').replace(/\}/g, '%7D');
function validator(ptr) { if (!cache.has(ptr)) cache.set(ptr, ajv.compile({ $ref: 'gh#' + ptr })); return cache.get(ptr); }
const deref = (o) => (o && o.$ref ? o.$ref.slice(2).split('/').reduce((a, k) => a[k.replace(/~1/g, '/').replace(/~0/g, '~')], spec) : o);
const example = (name) => structuredClone(spec.components.examples[name].value);

const key = pemFile ? crypto.createPublicKey(fs.readFileSync(pemFile)) : null;
const state = { installations: new Map(), tokens: new Map(), minted: [], codes: new Map(), repos: new Map(), statuses: [], checks: new Map(), deployments: new Map(), pulls: new Map(), comments: new Map(), faults: [], violations: [], requests: [], id: 1000, webhook: null };
const nid = () => ++state.id;
fs.mkdirSync(path.join(data, 'repos'), { recursive: true });
const account = (login) => ({ ...example('installation').account, login, id: 1, type: 'Organization' });
state.installations.set(7001, { id: 7001, account: 'acme', selection: 'selected', suspended: null, permissions: { contents: 'read', metadata: 'read', statuses: 'write', checks: 'write', deployments: 'write', pull_requests: 'write' }, repos: new Set() });

class Http extends Error { constructor(status, message, extra = {}, headers = {}) { super(message); this.status = status; this.body = { message, documentation_url: 'https://docs.github.com/rest', status: String(status), ...extra }; this.headers = headers; } }
const git = (dir, ...a) => execFileSync('git', ['-C', dir, ...a], { encoding: 'utf8', env: { ...process.env, GIT_AUTHOR_NAME: 'Ada', GIT_AUTHOR_EMAIL: 'ada@example.test', GIT_COMMITTER_NAME: 'Ada', GIT_COMMITTER_EMAIL: 'ada@example.test' }, stdio: ['pipe', 'pipe', 'pipe'] }).trim();
function commit(r, branch, files, message) {
  const work = fs.mkdtempSync(path.join(data, 'w-'));
  try {
    const has = (() => { try { git(r.dir, 'rev-parse', '--verify', `refs/heads/${branch}`); return true; } catch { return false; } })();
    execFileSync('git', has ? ['clone', '-q', '-b', branch, r.dir, work] : ['init', '-q', '-b', branch, work]);
    for (const [f, c] of Object.entries(files)) { fs.mkdirSync(path.dirname(path.join(work, f)), { recursive: true }); fs.writeFileSync(path.join(work, f), c); }
    git(work, 'add', '-A'); git(work, 'commit', '-q', '--allow-empty', '-m', message); git(work, 'push', '-q', r.dir, `HEAD:refs/heads/${branch}`);
    return git(work, 'rev-parse', 'HEAD');
  } finally { fs.rmSync(work, { recursive: true, force: true }); }
}
function addRepo({ full_name, private: priv = true, default_branch = 'main', files = { 'README.md': 'hi\n' }, installation = 7001 }) {
  const [owner, name] = full_name.split('/'), dir = path.join(data, 'repos', owner, name + '.git');
  fs.rmSync(dir, { recursive: true, force: true }); fs.mkdirSync(dir, { recursive: true }); execFileSync('git', ['init', '-q', '--bare', '-b', default_branch, dir]);
  const r = { id: nid(), owner, name, full_name, private: priv, default_branch, dir }; state.repos.set(full_name, r); state.installations.get(installation)?.repos.add(full_name);
  r.head = commit(r, default_branch, files, 'first'); return r;
}
function urls(o, r) { return JSON.parse(JSON.stringify(o).replaceAll('octocat/Hello-World', r.full_name).replaceAll('https://api.github.com', base).replaceAll(`https://github.com/${r.full_name}`, `${base}/${r.full_name}`)); }
function repoOut(r, ex = 'full-repository') {
  const o = urls(example(ex), r);
  return { ...o, id: r.id, name: r.name, full_name: r.full_name, private: r.private, default_branch: r.default_branch, owner: { ...o.owner, login: r.owner }, html_url: `${base}/${r.full_name}`, clone_url: `${base}/${r.full_name}.git`, visibility: r.private ? 'private' : 'public', has_discussions: o.has_discussions ?? false };
}
function commitOut(r, ref) {
  let sha; try { sha = git(r.dir, 'rev-parse', '--verify', `${ref}^{commit}`); } catch { throw new Http(422, `No commit found for SHA: ${ref}`); }
  const [tree, an, ae, ad, msg, parents] = git(r.dir, 'show', '-s', '--format=%T%x00%an%x00%ae%x00%aI%x00%B%x00%P', sha).split('\0');
  const o = urls(example('commit'), r), who = { name: an, email: ae, date: new Date(ad).toISOString().replace('.000', '') };
  o.url = o.url.replace(o.sha, sha); o.html_url = o.html_url.replace(o.sha, sha); return { ...o, sha, commit: { ...o.commit, message: msg.trim(), author: who, committer: who, tree: { ...o.commit.tree, sha: tree } }, parents: parents.split(' ').filter(Boolean).map((p) => ({ sha: p, url: `${base}/repos/${r.full_name}/commits/${p}`, html_url: `${base}/${r.full_name}/commit/${p}` })), files: [] };
}
function appAuth(req) {
  const m = /^(?:bearer|token) (.+)$/i.exec(req.headers.authorization ?? ''); if (!m) throw new Http(401, 'A JSON web token could not be decoded');
  const [h, p, s] = m[1].split('.'); let head, claims;
  try { head = JSON.parse(Buffer.from(h, 'base64url')); claims = JSON.parse(Buffer.from(p, 'base64url')); } catch { throw new Http(401, 'A JSON web token could not be decoded'); }
  if (head.alg !== 'RS256') throw new Http(401, 'A JSON web token could not be decoded');
  if (key && !crypto.verify('RSA-SHA256', Buffer.from(`${h}.${p}`), key, Buffer.from(s, 'base64url'))) throw new Http(401, 'A JSON web token could not be decoded');
  const now = Date.now() / 1000;
  if (String(claims.iss) !== String(APP_ID)) throw new Http(401, "'Issuer' claim ('iss') must be an Integer", {});
  if (!(claims.exp > now)) throw new Http(401, "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires");
  if (claims.exp - now > 600 + 5) throw new Http(401, "'Expiration time' claim ('exp') is too far in the future");
  if (claims.iat > now + 5) throw new Http(401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued");
}
function tokenOf(value) { const t = state.tokens.get(value); return t && t.expires > Date.now() && !state.installations.get(t.installation)?.suspended ? t : null; }
function tokAuth(req) { const m = /^(?:bearer|token) (.+)$/i.exec(req.headers.authorization ?? ''); if (!m) throw new Http(401, 'Requires authentication'); const t = tokenOf(m[1]); if (!t) throw new Http(401, 'Bad credentials'); return t; }
function repoFor(t, p, need) { const r = state.repos.get(`${p.owner}/${p.repo}`); if (!r || (r.private && !t.repos.has(r.full_name))) throw new Http(404, 'Not Found'); if (need && !({ write: 2, read: 1 }[t.permissions[need[0]]] >= { write: 2, read: 1 }[need[1]])) throw new Http(403, 'Resource not accessible by integration'); return r; }
function paged(req, url, items) { const n = Math.min(Number(url.searchParams.get('per_page') ?? 30), 100), pg = Number(url.searchParams.get('page') ?? 1), last = Math.max(1, Math.ceil(items.length / n)), l = []; const u = (k) => { const x = new URL(base + url.pathname + url.search); x.searchParams.set('page', k); return x.href; }; if (pg < last) l.push(`<${u(pg + 1)}>; rel="next"`, `<${u(last)}>; rel="last"`); return [items.slice((pg - 1) * n, pg * n), l.length ? { link: l.join(', ') } : {}]; }
const H = {
  'GET /app': (c) => { appAuth(c.req); return [200, { ...example('integration'), id: APP_ID, slug: 'mastraadmin-test', name: 'mastraadmin-test', owner: account('acme') }]; },
  'GET /app/installations': (c) => { appAuth(c.req); const all = [...state.installations.values()].map(instOut); const [x, h] = paged(c.req, c.url, all); return [200, x, h]; },
  'GET /app/installations/{installation_id}': (c) => { appAuth(c.req); return [200, instOut(inst(c))]; },
  'POST /app/installations/{installation_id}/access_tokens': (c) => {
    appAuth(c.req); const i = inst(c); if (i.suspended) throw new Http(403, 'This installation has been suspended');
    for (const [k, v] of Object.entries(c.body?.permissions ?? {})) if (!i.permissions[k] || (v === 'write' && i.permissions[k] === 'read')) throw new Http(422, 'The permissions requested are not granted to this installation.');
    const ids = c.body?.repository_ids, byId = (n) => { const f = [...i.repos].find((x) => state.repos.get(x).id === n); if (!f) throw new Http(422, 'There is at least one repository that does not exist or is not accessible to the parent installation.'); return f; };
    const names = c.body?.repositories, repos = ids ? ids.map(byId) : names ? names.map((n) => { const f = [...i.repos].find((x) => x.split('/')[1] === n); if (!f) throw new Http(422, 'There is at least one repository that does not exist or is not accessible to the parent installation.'); return f; }) : [...i.repos];
    const token = 'ghs_' + crypto.randomBytes(27).toString('base64url').replace(/[-_]/g, 'x'), expires = Date.now() + (state.tokenTtl ?? 3600) * 1000;
    state.minted.push({ installation: i.id, repositories: repos, permissions: c.body?.permissions ?? null });
    state.tokens.set(token, { installation: i.id, repos: new Set(repos), permissions: c.body?.permissions ?? i.permissions, expires });
    return [201, { token, expires_at: new Date(expires).toISOString().replace(/\.\d+/, ''), permissions: c.body?.permissions ?? i.permissions, repository_selection: names || ids ? 'selected' : i.selection, ...(names || ids ? { repositories: repos.map((f) => repoOut(state.repos.get(f))) } : {}) }];
  },
  'DELETE /installation/token': (c) => { tokAuth(c.req); state.tokens.delete(c.req.headers.authorization.split(' ')[1]); return [204]; },
  'GET /installation/repositories': (c) => { const t = tokAuth(c.req); const [x, h] = paged(c.req, c.url, [...t.repos].map((f) => repoOut(state.repos.get(f)))); return [200, { total_count: t.repos.size, repositories: x }, h]; },
  'GET /repos/{owner}/{repo}': (c) => [200, repoOut(repoFor(tokAuth(c.req), c.params))],
  'GET /repos/{owner}/{repo}/branches': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['contents', 'read']); return [200, git(r.dir, 'for-each-ref', '--format=%(refname:short) %(objectname)', 'refs/heads').split('\n').map((l) => l.split(' ')).map(([name, sha]) => ({ name, commit: { sha, url: `${base}/repos/${r.full_name}/commits/${sha}` }, protected: false }))]; },
  'GET /repos/{owner}/{repo}/commits/{ref}': (c) => [200, commitOut(repoFor(tokAuth(c.req), c.params, ['contents', 'read']), c.params.ref)],
  'GET /repos/{owner}/{repo}/contents/{path}': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['contents', 'read']); let t; try { t = execFileSync('git', ['-C', r.dir, 'show', `${c.url.searchParams.get('ref') ?? r.default_branch}:${c.params.path}`], { stdio: ['pipe', 'pipe', 'pipe'] }); } catch { throw new Http(404, 'Not Found'); } const o = urls(example('content-file-response-if-content-is-a-file'), r); return [200, { ...o, path: c.params.path, name: path.basename(c.params.path), size: t.length, content: t.toString('base64'), encoding: 'base64' }]; },
  'POST /repos/{owner}/{repo}/statuses/{sha}': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['statuses', 'write']); commitOut(r, c.params.sha); const o = { ...urls(example('status'), r), id: nid(), state: c.body.state, description: c.body.description ?? null, target_url: c.body.target_url ?? null, context: c.body.context ?? 'default' }; state.statuses.push({ sha: c.params.sha, ...o }); return [201, o]; },
  'POST /repos/{owner}/{repo}/check-runs': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['checks', 'write']); const o = { ...urls(example('check-run-example-of-in-progress-conclusion'), r), id: nid(), name: c.body.name, head_sha: c.body.head_sha, status: c.body.status ?? (c.body.conclusion ? 'completed' : 'queued'), conclusion: c.body.conclusion ?? null }; state.checks.set(String(o.id), o); return [201, o]; },
  'PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}': (c) => { repoFor(tokAuth(c.req), c.params, ['checks', 'write']); const o = state.checks.get(c.params.check_run_id); if (!o) throw new Http(404, 'Not Found'); Object.assign(o, { status: c.body.conclusion ? 'completed' : c.body.status ?? o.status, conclusion: c.body.conclusion ?? o.conclusion }); return [200, o]; },
  'POST /repos/{owner}/{repo}/deployments': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['deployments', 'write']); const k = commitOut(r, c.body.ref); const o = { ...urls(example('deployment'), r), id: nid(), sha: k.sha, ref: c.body.ref, environment: c.body.environment ?? 'production', payload: c.body.payload ?? {}, transient_environment: c.body.transient_environment ?? false, production_environment: c.body.production_environment ?? false, repo: r.full_name, statuses: [] }; state.deployments.set(String(o.id), o); return [201, deploymentOut(o)]; },
  'POST /repos/{owner}/{repo}/deployments/{deployment_id}/statuses': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['deployments', 'write']); const d = state.deployments.get(c.params.deployment_id); if (!d) throw new Http(404, 'Not Found'); const o = { ...urls(example('deployment-status'), r), id: nid(), state: c.body.state, description: c.body.description ?? '', environment_url: c.body.environment_url || undefined }; d.statuses.push(o); return [201, o]; },
  'GET /repos/{owner}/{repo}/deployments': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['deployments', 'read']), q = c.url.searchParams; const all = [...state.deployments.values()].filter((o) => o.repo === r.full_name && (!q.get('sha') || o.sha === q.get('sha')) && (!q.get('environment') || o.environment === q.get('environment'))).reverse(); const [x, h] = paged(c.req, c.url, all.map(deploymentOut)); return [200, x, h]; },
  'GET /repos/{owner}/{repo}/pulls': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['pull_requests', 'read']); const all = [...state.pulls.entries()].filter(([k, o]) => k.startsWith(`${r.full_name}#`) && (c.url.searchParams.get('state') ?? 'open') === o.state).map(([, o]) => { const e = urls(example('pull-request-simple-items')[0], r); return { ...e, number: o.number, state: o.state, updated_at: o.updated_at, requested_teams: [], head: { ...e.head, ref: o.branch, sha: o.sha, repo: { ...e.head.repo, id: o.repo_id } }, base: { ...e.base, repo: { ...e.base.repo, id: r.id } } }; }); const [x, h] = paged(c.req, c.url, all); return [200, x, h]; },
  'GET /repos/{owner}/{repo}/pulls/{pull_number}': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['pull_requests', 'read']); const o = pullOf(r, c.params.pull_number); const e = urls(example('pull-request'), r); return [200, { ...e, number: o.number, state: o.state, updated_at: o.updated_at, requested_teams: [], head: { ...e.head, ref: o.branch, sha: o.sha, repo: { ...e.head.repo, id: o.repo_id } }, base: { ...e.base, repo: { ...e.base.repo, id: r.id } } }]; },
  'GET /repos/{owner}/{repo}/issues/{issue_number}/comments': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['pull_requests', 'read']); const o = pullOf(r, c.params.issue_number); const [x, h] = paged(c.req, c.url, [...state.comments.values()].filter((k) => k.pull === o).map(commentOut)); return [200, x, h]; },
  'POST /repos/{owner}/{repo}/issues/{issue_number}/comments': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['pull_requests', 'write']); const k = { id: nid(), r, pull: pullOf(r, c.params.issue_number), body: c.body.body, app: true, edits: [] }; state.comments.set(String(k.id), k); return [201, commentOut(k)]; },
  'PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['pull_requests', 'write']); const k = state.comments.get(c.params.comment_id); if (!k || k.r !== r) throw new Http(404, 'Not Found'); k.edits.push(k.body); k.body = c.body.body; return [200, commentOut(k)]; },
  'GET /user/installations': (c) => { const m = /^bearer (ghu_.+)$/i.exec(c.req.headers.authorization ?? ''), mine = m && state.codes.get(m[1])?.installations; if (!mine) throw new Http(401, 'Bad credentials'); const [x, h] = paged(c.req, c.url, mine.map((n) => instOut(state.installations.get(n)))); return [200, { total_count: mine.length, installations: x }, h]; },
  'GET /user/installations/{installation_id}/repositories': (c) => { const m = /^bearer (ghu_.+)$/i.exec(c.req.headers.authorization ?? ''), who = m && state.codes.get(m[1]); if (!who) throw new Http(401, 'Bad credentials'); const i = inst(c); if (!who.installations.includes(i.id)) throw new Http(404, 'Not Found'); const all = [...i.repos].filter((f) => !who.repositories || who.repositories.includes(f)); const [x, h] = paged(c.req, c.url, all.map((f) => repoOut(state.repos.get(f)))); return [200, { total_count: all.length, repositories: x }, h]; },
  'GET /repos/{owner}/{repo}/git/trees/{tree_sha}': (c) => { const r = repoFor(tokAuth(c.req), c.params, ['contents', 'read']); const sha = git(r.dir, 'rev-parse', '--verify', `${c.params.tree_sha === 'HEAD' ? r.default_branch : c.params.tree_sha}^{tree}`); const tree = git(r.dir, 'ls-tree', '-r', '-t', '-z', '--full-tree', sha).split('\0').filter(Boolean).map((l) => { const [meta, p] = l.split('\t'), [mode, type, o] = meta.split(' '); return { path: p, mode, type, sha: o, url: `${base}/repos/${r.full_name}/git/${type}s/${o}` }; }); return [200, { sha, url: `${base}/repos/${r.full_name}/git/trees/${sha}`, tree, truncated: false }]; },
  'GET /rate_limit': () => [200, example('rate-limit-overview')],
};
const deploymentOut = ({ statuses, repo, ...out }) => out;
const pullOf = (r, n) => { const o = state.pulls.get(`${r.full_name}#${n}`); if (!o) throw new Http(404, 'Not Found'); return o; };
const commentOut = (k) => { const o = urls(example('issue-comment'), k.r); return { ...o, id: k.id, body: k.body, performed_via_github_app: k.app ? { ...example('integration'), id: APP_ID } : null }; };
// A pull request of a branch of the repository, or of a fork: then its commits are under refs/pull alone.
function pull({ full_name, number = 1, branch = 'topic', fork = false, files, state: now = 'open' }) {
  const r = state.repos.get(full_name), k = `${full_name}#${number}`, o = state.pulls.get(k) ?? { number, repo_id: fork ? nid() : r.id };
  if (files) { const b = fork ? `fork-${number}` : branch; if (fork) git(r.dir, 'update-ref', `refs/heads/${b}`, o.sha ?? r.default_branch); else if (!o.sha) git(r.dir, 'update-ref', `refs/heads/${b}`, r.default_branch); o.sha = commit(r, b, files, 'change'); git(r.dir, 'update-ref', `refs/pull/${number}/head`, o.sha); if (fork) git(r.dir, 'update-ref', '-d', `refs/heads/${b}`); }
  Object.assign(o, { branch, state: now, updated_at: new Date().toISOString().replace(/\.\d+/, '') }); state.pulls.set(k, o);
  return { o, told: { number, pull_request: { number, state: now, updated_at: o.updated_at, head: { ref: branch, sha: o.sha, repo: { id: o.repo_id } }, base: { repo: { id: r.id } } }, repository: { id: r.id, name: r.name, full_name: r.full_name }, installation: { id: 7001, node_id: 'x' } } };
}
const inst = (c) => { const i = state.installations.get(Number(c.params.installation_id)); if (!i) throw new Http(404, 'Not Found'); return i; };
const instOut = (i) => ({ ...example('installation'), id: i.id, app_id: APP_ID, account: account(i.account), permissions: i.permissions, repository_selection: i.selection, suspended_at: i.suspended ?? null, ...(i.suspended ? {} : { suspended_by: null }) });
const routes = Object.keys(spec.paths).map((p) => ({ p, re: new RegExp('^' + p.replace(/[.+]/g, '\\$&').replace(/\{path\}/g, '(?<path>.+)').replace(/\{ref\}/g, '(?<ref>.+)').replace(/\{(\w+)\}/g, (_, n) => `(?<${n}>[^/]+)`) + '$'), lit: p.replace(/\{[^}]*\}/g, '').length })).sort((a, b) => b.lit - a.lit);
const violation = (c, why, detail) => { state.violations.push({ method: c.req.method, path: c.url.pathname, why, detail }); };
async function rest(c, res) {
  const { req, url } = c; state.requests.push(`${req.method} ${url.pathname}`);
  if (!req.headers['user-agent']) throw new Http(403, 'Request forbidden by administrative rules. Please make sure your request has a User-Agent header.');
  const f = state.faults.find((x) => x.times > 0 && new RegExp(x.path).test(url.pathname) && (!x.method || x.method === req.method));
  if (f) { f.times--; if (f.delay) await new Promise((r) => setTimeout(r, f.delay)); if (f.drop) { req.socket.destroy(); return; } if (f.status && !f.lose) throw new Http(f.status, f.message ?? 'fault', {}, f.headers ?? {}); }
  const hit = routes.map((r) => [r, r.re.exec(url.pathname)]).find(([r, m]) => m && spec.paths[r.p][req.method.toLowerCase()]);
  if (!hit) { violation(c, 'no such operation in the API description'); throw new Http(404, 'Not Found'); }
  const [{ p }, m] = hit, op = spec.paths[p][req.method.toLowerCase()]; c.params = { ...m.groups };
  for (const k in c.params) c.params[k] = decodeURIComponent(c.params[k]);
  const known = new Set((op.parameters ?? []).map(deref).filter((x) => x.in === 'query').map((x) => x.name));
  for (const k of url.searchParams.keys()) if (!known.has(k)) violation(c, 'unknown query parameter', k);
  for (const prm of (op.parameters ?? []).map(deref)) { const v = prm.in === 'query' ? url.searchParams.get(prm.name) : prm.in === 'path' ? c.params[prm.name] : null; if (v != null && prm.schema?.type === 'integer' && !/^-?\d+$/.test(v)) { violation(c, 'parameter is not an integer', prm.name); } if (v != null && prm.schema?.enum && !prm.schema.enum.includes(v)) violation(c, 'parameter outside its enum', prm.name); }
  const rb = deref(op.requestBody)?.content?.['application/json'];
  if (rb && c.body !== undefined) { const v = validator(`/paths/${esc(p)}/${req.method.toLowerCase()}/requestBody/content/${esc('application/json')}/schema`); if (!v(c.body)) { violation(c, 'request body', ajv.errorsText(v.errors)); throw new Http(422, 'Validation Failed', { errors: v.errors.slice(0, 5).map((e) => `${e.instancePath} ${e.message}`) }); } const props = deref(rb.schema)?.properties; if (props) for (const k in c.body) if (!(k in props)) violation(c, 'unknown body field', k); } else if (rb && deref(op.requestBody).required) { violation(c, 'request body missing'); throw new Http(422, 'Invalid request.'); }
  const h = H[`${req.method} ${p}`]; if (!h) { violation(c, 'in the API description, not in this fake'); throw new Http(501, 'not in this fake'); }
  const [status, out, headers] = h(c); if (f?.lose) { req.socket.destroy(); return; } const rs = deref(op.responses[status]);
  if (out !== undefined && rs?.content?.['application/json']) { const at = op.responses[status].$ref ? op.responses[status].$ref.slice(1) : `/paths/${esc(p)}/${req.method.toLowerCase()}/responses/${status}`; const v = validator(`${at}/content/${esc('application/json')}/schema`); if (!v(out)) state.violations.push({ method: req.method, path: url.pathname, why: "this fake's own answer", detail: ajv.errorsText(v.errors.slice(0, 12)) }); }
  answer(res, status, out, headers);
}
function answer(res, status, out, headers = {}) { res.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'x-github-request-id': crypto.randomUUID(), 'x-ratelimit-limit': '5000', 'x-ratelimit-remaining': '4999', 'x-ratelimit-reset': String(Math.floor(Date.now() / 1000) + 3600), 'x-github-media-type': 'github.v3; format=json', ...headers }); res.end(out === undefined ? undefined : JSON.stringify(out)); }
function gitHttp(req, res, url, m) {
  const full = `${m[1]}/${m[2]}`, basic = Buffer.from((req.headers.authorization ?? '').replace(/^basic /i, ''), 'base64').toString(), [user, pass] = [basic.slice(0, basic.indexOf(':')), basic.slice(basic.indexOf(':') + 1)], t = user === 'x-access-token' && tokenOf(pass), r = state.repos.get(full);
  if (!r || (r.private && !t)) { res.writeHead(401, { 'www-authenticate': 'Basic realm="GitHub"', 'content-type': 'text/plain' }); return res.end(r || !basic ? 'Authentication required\n' : 'Repository not found.\n'); }
  if (r.private && !t.repos.has(full)) { res.writeHead(404); return res.end('Repository not found.\n'); }
  const write = url.searchParams.get('service') === 'git-receive-pack' || url.pathname.endsWith('git-receive-pack');
  if (write && t?.permissions.contents !== 'write') { res.writeHead(403); return res.end('Write access to repository not granted.\n'); }
  const p = spawn('git', ['http-backend'], { env: { PATH: process.env.PATH, GIT_PROJECT_ROOT: path.join(data, 'repos'), GIT_HTTP_EXPORT_ALL: '1', PATH_INFO: url.pathname, QUERY_STRING: url.search.slice(1), REQUEST_METHOD: req.method, CONTENT_TYPE: req.headers['content-type'] ?? '', REMOTE_USER: user, REMOTE_ADDR: '127.0.0.1', GIT_PROTOCOL: req.headers['git-protocol'] ?? '', HOME: data } });
  (req.headers['content-encoding'] === 'gzip' ? req.pipe(zlib.createGunzip()) : req).pipe(p.stdin); p.stdin.on('error', () => {});
  let head = Buffer.alloc(0), sent = false;
  p.stdout.on('data', (d) => { if (sent) return res.write(d); head = Buffer.concat([head, d]); const i = head.indexOf('\r\n\r\n'); if (i < 0) return; sent = true; let status = 200; const hs = {}; for (const l of head.subarray(0, i).toString().split('\r\n')) { const k = l.slice(0, l.indexOf(':')), v = l.slice(l.indexOf(':') + 1).trim(); if (k === 'Status') status = parseInt(v); else hs[k] = v; } res.writeHead(status, hs); res.write(head.subarray(i + 4)); });
  p.on('close', () => { if (!sent) res.writeHead(500); res.end(); }); res.on('close', () => p.kill());
}
const merge = (a, b) => { for (const k in b) a[k] = b[k] && typeof b[k] === 'object' && !Array.isArray(b[k]) ? merge(a[k] ?? {}, b[k]) : b[k]; return a; };
async function deliver({ event, action, index = 0, overrides = {}, target = state.webhook?.target, secret = state.webhook?.secret, guid = crypto.randomUUID(), badSignature = false }) {
  const ex = webhookExamples.find((e) => e.name === event)?.examples.filter((e) => !action || e.action === action)[index]; if (!ex) throw new Http(404, `no example for ${event} ${action ?? ''}`);
  const payload = JSON.stringify(merge(structuredClone(ex), overrides)); let sig = await sign(secret, payload); if (badSignature) sig = sig.slice(0, -1) + (sig.endsWith('0') ? '1' : '0');
  const r = await fetch(target, { method: 'POST', body: payload, headers: { 'content-type': 'application/json', accept: '*/*', 'user-agent': 'GitHub-Hookshot/abc1234', 'x-github-event': event, 'x-github-delivery': guid, 'x-github-hook-id': '1', 'x-github-hook-installation-target-id': String(APP_ID), 'x-github-hook-installation-target-type': 'integration', 'x-hub-signature': 'sha1=' + crypto.createHmac('sha1', secret).update(payload).digest('hex'), 'x-hub-signature-256': sig } }).catch((e) => ({ status: 0, text: async () => String(e) }));
  return { guid, status: r.status, body: (await r.text()).slice(0, 2000) };
}
async function control(req, url, body) {
  const k = `${req.method} ${url.pathname}`;
  if (k === 'GET /test/violations') return state.violations;
  if (k === 'GET /test/state') return { requests: state.requests.length, statuses: state.statuses, checks: [...state.checks.values()], deployments: [...state.deployments.values()], comments: [...state.comments.values()].map(({ r, pull: p, ...c }) => ({ ...c, number: p.number })), tokens: state.tokens.size, minted: state.minted, paths: state.requests, repos: [...state.repos.values()].map((r) => r.full_name) };
  if (k === 'POST /test/code') { const code = 'c' + crypto.randomBytes(8).toString('hex'); state.codes.set(code, { installations: body.installations ?? [], repositories: body.repositories ?? null }); return { code }; }
  if (k === 'POST /test/repos') { const { dir, ...r } = addRepo(body); return r; }
  if (k === 'POST /test/push') { const r = state.repos.get(body.full_name), branch = body.branch ?? r.default_branch; let before; try { before = git(r.dir, 'rev-parse', branch); } catch { before = '0'.repeat(40); } const after = commit(r, branch, body.files ?? {}, body.message ?? 'change'); const o = { ref: `refs/heads/${branch}`, before, after, created: false, forced: false, ...body.overrides, head_commit: { id: after, message: body.message ?? 'change' }, repository: { id: r.id, name: r.name, full_name: r.full_name, clone_url: `${base}/${r.full_name}.git`, default_branch: r.default_branch }, installation: { id: 7001, node_id: 'x' } }; return { before, after, delivery: state.webhook && body.deliver !== false ? await deliver({ event: 'push', overrides: o }) : null }; }
  if (k === 'POST /test/pull') { const { o, told } = pull(body); return { sha: o.sha, delivery: body.action ? await deliver({ event: 'pull_request', action: 'opened', overrides: { ...told, action: body.action }, guid: body.guid }) : null }; }
  if (k === 'POST /test/comment') { const r = state.repos.get(body.full_name), c = { id: nid(), r, pull: pullOf(r, body.number), body: body.body, app: false, edits: [] }; state.comments.set(String(c.id), c); return { id: c.id }; }
  if (k === 'POST /test/webhook') return deliver(body);
  if (k === 'POST /test/webhook-target') return (state.webhook = body);
  if (k === 'POST /test/fault') { state.faults.push({ times: 1, ...body }); return state.faults; }
  if (k === 'POST /test/installation') { const i = state.installations.get(body.id) ?? { id: body.id, account: body.account ?? 'acme', selection: 'selected', permissions: state.installations.get(7001).permissions, repos: new Set() }; if ('suspended' in body) i.suspended = body.suspended; if (body.permissions) i.permissions = body.permissions; state.installations.set(i.id, i); if (body.gone) state.installations.delete(i.id); return { id: i.id }; }
  if (k === 'POST /test/forget-tokens') { state.tokens.clear(); return {}; }
  if (k === 'POST /test/token-ttl') { state.tokenTtl = body.seconds; return body; }
  throw new Http(404, 'no such control');
}
const server = http.createServer(async (req, res) => {
  const url = new URL(req.url, base);
  try {
    const m = /^\/([^/]+)\/([^/]+?)(?:\.git)?\/(?:info\/refs|git-upload-pack|git-receive-pack)$/.exec(url.pathname); if (m) { if (!/\.git\//.test(url.pathname)) url.pathname = url.pathname.replace(`/${m[2]}/`, `/${m[2]}.git/`); return gitHttp(req, res, url, m); }
    let raw = ''; for await (const c of req) raw += c; let body; if (raw) { try { body = JSON.parse(raw); } catch { throw new Http(400, 'Problems parsing JSON'); } }
    // On github.com's own host, not in the description of the API: a code becomes the token of who came with it.
    if (req.method === 'POST' && url.pathname === '/login/oauth/access_token') { const mine = state.codes.get(body?.code); if (!mine || body.client_id !== 'Iv1.test' || body.client_secret !== 'client-secret-of-the-test') return answer(res, 200, { error: 'bad_verification_code' }); state.codes.delete(body.code); const t = 'ghu_' + crypto.randomBytes(12).toString('hex'); state.codes.set(t, mine); return answer(res, 200, { access_token: t, token_type: 'bearer', scope: '' }); }
    if (url.pathname.startsWith('/test/')) return answer(res, 200, await control(req, url, body ?? {}));
    const api = url.pathname.startsWith('/api/v3/') ? '/api/v3' : ''; if (api) url.pathname = url.pathname.slice(7);
    await rest({ req, url, body }, res);
  } catch (e) { if (!(e instanceof Http)) console.error(e); if (!res.headersSent) answer(res, e.status ?? 500, e.body ?? { message: String(e) }, e.headers); }
});
server.listen(port, '127.0.0.1', () => console.log(`READY ${base} app=${APP_ID} installation=7001 spec=${spec.info.version} paths=${routes.length} ms=${Date.now() - t0} pid=${process.pid}`));
process.on('SIGTERM', () => { server.close(() => process.exit(0)); server.closeAllConnections(); });
