#!/usr/bin/env python3
"""HTTP front for the chDB engine that follows ClickHouse's HTTP interface.

For tests only.  Needs: chdb-core, lz4.  Optional: clickhouse-cityhash (checks
and writes the checksums of native compressed blocks), backports.zstd.

usage: clickhouse_http.py --port N --data DIR [--host 127.0.0.1]
                          [--user default] [--password ''] [--database default]
Prints one line "READY http://host:port version=V pid=P" when it accepts queries.
SIGTERM and SIGINT end it cleanly (in-flight queries get --grace seconds).
"""
import argparse, base64, gzip, json, os, random, re, select, signal, socket, string
import struct, sys, tempfile, threading, time, uuid, zlib
from urllib.parse import parse_qsl, unquote_plus, urlsplit

os.environ.setdefault("TZ", "UTC")
import lz4.block, lz4.frame
import chdb

try:
    from clickhouse_cityhash.cityhash import CityHash128
except ImportError:
    CityHash128 = None
try:
    from backports import zstd
except ImportError:
    zstd = None

MAX_BLOCK = 1 << 30
RESERVED = {"query", "database", "default_format", "user", "password", "session_id",
            "session_timeout", "session_check", "query_id", "quota_key", "stacktrace",
            "compress", "decompress", "buffer_size", "wait_end_of_query", "role",
            "client_protocol_version", "close_session"}
STREAMED = {"SELECT", "WITH", "(", "FROM"}
# the engine formats each streamed block on its own, so only formats without a frame can be streamed as they come;
# RowBinaryWithNamesAndTypes repeats its header per block, which is cut here
STREAM_FORMATS = {x.lower() for x in ("TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "JSONEachRow", "NDJSON",
                  "JSONLines", "JSONCompactEachRow", "RowBinary", "RowBinaryWithNamesAndTypes", "Native", "TSKV", "LineAsString")}
CTYPE = {"TabSeparated": "text/tab-separated-values; charset=UTF-8",
         "TSV": "text/tab-separated-values; charset=UTF-8",
         "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
         "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
         "TSVWithNames": "text/tab-separated-values; charset=UTF-8",
         "CSV": "text/csv; charset=UTF-8; header=absent",
         "CSVWithNames": "text/csv; charset=UTF-8; header=present",
         "JSON": "application/json; charset=UTF-8", "JSONCompact": "application/json; charset=UTF-8",
         "JSONEachRow": "application/x-ndjson; charset=UTF-8",
         "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
         "RowBinary": "application/octet-stream", "RowBinaryWithNames": "application/octet-stream",
         "RowBinaryWithNamesAndTypes": "application/octet-stream", "Native": "application/octet-stream"}
C401, C403, C501, C408, C411, C413 = {194}, {192, 193, 497, 512, 516}, {48}, {159, 160}, {381}, {229}
C503 = {202, 209, 210, 242, 319, 439}
C404 = {46, 47, 50, 56, 60, 63, 71, 73, 81, 115, 141}
C400 = {6, 26, 27, 28, 29, 33, 36, 38, 40, 41, 42, 43, 44, 53, 62, 69, 70, 72, 117, 130, 131, 344,
        349, 441, 457, 490, 549, 636}


class ChError(Exception):
    def __init__(self, code, name, text):
        self.code, self.text = code, f"Code: {code}. DB::Exception: {text} ({name})"
        super().__init__(self.text)


class Disconnected(Exception):
    pass


def from_engine(e):
    """The engine's own words, without chdb's prefixes."""
    text = str(e)
    i = text.find("Code: ")
    if i < 0:
        return 1001, f"Code: 1001. DB::Exception: {text} (STD_EXCEPTION)"
    text = text[i:].strip()
    m = re.match(r"Code: (\d+)", text)
    return int(m.group(1)) if m else 1001, text


def with_version(text, version):
    text = re.sub(r"\s*\(version [^()]*(\([^()]*\))?\)\s*$", "", text)
    return f"{text} (version {version} (official build))\n"


def status_of(code):
    for group, status in ((C401, 401), (C403, 403), (C501, 501), (C408, 408), (C411, 411),
                          (C413, 413), (C503, 503), (C404, 404), (C400, 400)):
        if code in group:
            return status
    return 500


def rbwnat_header(data):
    def varint(i):
        v = shift = 0
        while True:
            b = data[i]
            i += 1
            v |= (b & 127) << shift
            if b < 128:
                return v, i
            shift += 7
    n, i = varint(0)
    for _ in range(2 * n):
        size, i = varint(i)
        i += size
    return data[:i]


# ---------------------------------------------------------------- SQL head --
def tokens(sql, limit=None):
    """(word, start, end) of top-level words and ';'. Skips comments, quotes, brackets."""
    i, n, depth = 0, len(sql) if limit is None else min(len(sql), limit), 0
    while i < n:
        c = sql[i]
        if c.isspace():
            i += 1
        elif sql.startswith("--", i) or c == "#":
            j = sql.find("\n", i)
            i = n if j < 0 else j + 1
        elif sql.startswith("/*", i):
            j = sql.find("*/", i + 2)
            i = n if j < 0 else j + 2
        elif c in "'\"`":
            j = i + 1
            while j < n:
                if sql[j] == "\\":
                    j += 2
                elif sql[j] == c:
                    if j + 1 < n and sql[j + 1] == c:
                        j += 2
                    else:
                        break
                else:
                    j += 1
            if depth == 0:
                yield ("'", i, min(j + 1, n))
            i = j + 1
        elif c in "([{":
            if depth == 0:
                yield (c, i, i + 1)
            depth += 1
            i += 1
        elif c in ")]}":
            depth -= 1
            i += 1
        elif c.isalpha() or c == "_":
            j = i + 1
            while j < n and (sql[j].isalnum() or sql[j] == "_"):
                j += 1
            if depth == 0:
                yield (sql[i:j].upper(), i, j)
            i = j
        else:
            if c == ";" and depth == 0:
                yield (";", i, i + 1)
            i += 1


def split_insert(sql):
    """(head, format, data) when the statement is INSERT with data outside it, else None."""
    it = tokens(sql)
    first = next(it, None)
    if not first or first[0] != "INSERT":
        return None
    for word, start, end in it:
        if word == "SELECT" or word == "WITH":
            return None
        if word == "VALUES":
            return sql[:start], "Values", sql[end:]
        if word == "FORMAT":
            m = re.match(r"\s*([A-Za-z0-9_]+)", sql[end:])
            if not m:
                raise ChError(62, "SYNTAX_ERROR", "Syntax error: expected format name after FORMAT")
            stop = end + m.end()
            head, tail = sql[:start], sql[stop:]
            s = re.match(r"\s*(SETTINGS\s[^\n;]*)", tail, re.I)
            if s:
                head, tail = head + s.group(1), tail[s.end():]
            tail = re.sub(r"^[ \t\r]*;?[ \t\r]*\n?", "", tail)
            return head, m.group(1), tail
    return sql, None, ""


def output_format(sql):
    found = None
    for word, _s, end in tokens(sql):
        if word == "FORMAT":
            m = re.match(r"\s*([A-Za-z0-9_]+)", sql[end:])
            found = m.group(1) if m else None
    return found


def single_statement(sql):
    cut = None
    for word, start, _e in tokens(sql):
        if cut is not None:
            raise ChError(62, "SYNTAX_ERROR",
                          f"Syntax error (Multi-statements are not allowed): failed at position {cut + 1}")
        if word == ";":
            cut = start
    return sql if cut is None else sql[:cut]


# ------------------------------------------------------- native block format --
def native_blocks(read):
    """Decode the stream of the `decompress=1` block format; read(n) gives exactly n bytes or b''."""
    while True:
        head = read(25)
        if not head:
            return
        checksum, method = head[:16], head[16]
        csize, usize = struct.unpack_from("<II", head, 17)
        if csize < 9 or csize > MAX_BLOCK or usize > MAX_BLOCK:
            raise ChError(44, "CANNOT_DECOMPRESS", f"Too large size_compressed: {csize}. Most likely corrupted data.")
        data = read(csize - 9)
        if len(data) != csize - 9:
            raise ChError(33, "CANNOT_READ_ALL_DATA", "Cannot read all data of a compressed block")
        if CityHash128:
            lo_hi = CityHash128(head[16:] + data)
            if struct.pack("<QQ", *cityhash_words(lo_hi)) != checksum:
                raise ChError(40, "CHECKSUM_DOESNT_MATCH", "Checksum doesn't match: corrupted data.")
        if method == 0x82:
            yield lz4.block.decompress(data, uncompressed_size=usize)
        elif method == 0x02:
            yield data
        elif method == 0x90 and zstd:
            yield zstd.decompress(data)
        else:
            raise ChError(89, "UNKNOWN_COMPRESSION_METHOD", f"Unknown compression method: {method}")


def frames(make, src):
    """Decode a sequence of one or more frames."""
    d = make()
    for piece in src:
        while piece:
            if d.eof:
                d = make()
            yield d.decompress(piece)
            piece = d.unused_data or b"" if d.eof else b""


def cityhash_words(v):
    if isinstance(v, tuple):
        return v
    return v >> 64, v & 0xFFFFFFFFFFFFFFFF


def native_block(data):
    body = lz4.block.compress(data, store_size=False)
    tail = struct.pack("<BII", 0x82, len(body) + 9, len(data)) + body
    if not CityHash128:
        raise ChError(48, "NOT_IMPLEMENTED", "compress=1 needs the package clickhouse-cityhash")
    return struct.pack("<QQ", *cityhash_words(CityHash128(tail))) + tail


# ------------------------------------------------------------------- server --
class Server:
    def __init__(self, args):
        self.args = args
        os.makedirs(args.data, exist_ok=True)
        self.path = args.data
        self.root = chdb.connect(self.path)
        self.version = self.root.query("SELECT version()", "TSV").bytes().decode().strip()
        if args.database != "default":
            self.root.query(f"CREATE DATABASE IF NOT EXISTS `{args.database}`")
        self.sessions, self.slock = {}, threading.Lock()
        self.active, self.alock = 0, threading.Lock()
        self.rows_read = 0
        self.stopping = threading.Event()
        self.sock = socket.socket(socket.AF_INET6 if ":" in args.host else socket.AF_INET)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((args.host, args.port))
        self.sock.listen(512)

    def count(self, result):
        """What this part of a result took to read, of the tables themselves; the engine tells it part by part."""
        with self.alock:
            self.rows_read += result.storage_rows_read()
        return result

    def serve(self):
        r, w = os.pipe()
        def stop(*_):
            self.stopping.set()
            os.write(w, b"x")
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        print(f"READY http://{self.args.host}:{self.sock.getsockname()[1]} version={self.version} pid={os.getpid()}",
              flush=True)
        while not self.stopping.is_set():
            ready, _, _ = select.select([self.sock, r], [], [], 30)
            self.reap()
            if self.sock in ready:
                conn, _peer = self.sock.accept()
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=Client(self, conn).run, daemon=True).start()
        self.sock.close()
        end = time.time() + self.args.grace
        while time.time() < end:
            with self.alock:
                if self.active == 0:
                    break
            time.sleep(0.05)
        with self.slock:
            for s in self.sessions.values():
                try:
                    s["conn"].close()
                except Exception:
                    pass
        self.root.close()
        sys.stderr.write("stopped\n")
        sys.stderr.flush()
        os._exit(0)

    def reap(self):
        now = time.time()
        with self.slock:
            for k in [k for k, s in self.sessions.items() if now > s["until"] and not s["lock"].locked()]:
                self.sessions.pop(k)["conn"].close()

    def session(self, sid, timeout, check):
        with self.slock:
            s = self.sessions.get(sid)
            if s is None:
                if check:
                    raise ChError(372, "SESSION_NOT_FOUND", f"Session {sid} not found")
                s = self.sessions[sid] = {"conn": chdb.connect(self.path), "lock": threading.Lock(), "until": 0}
            if not s["lock"].acquire(blocking=False):
                raise ChError(373, "SESSION_IS_LOCKED", f"Session {sid} is locked by a concurrent client")
            s["until"] = time.time() + timeout
            return s


class Client:
    def __init__(self, server, conn):
        self.s, self.conn = server, conn
        self.buf = bytearray()

    # -- reading ---------------------------------------------------------------
    def more(self):
        data = self.conn.recv(1 << 18)
        if not data:
            raise Disconnected()
        self.buf += data

    def line(self):
        while True:
            i = self.buf.find(b"\n")
            if i >= 0:
                out = bytes(self.buf[:i]).rstrip(b"\r")
                del self.buf[:i + 1]
                return out
            if len(self.buf) > 1 << 20:
                raise Disconnected()
            self.more()

    def exactly(self, n):
        while len(self.buf) < n:
            self.more()
        out = bytes(self.buf[:n])
        del self.buf[:n]
        return out

    def body_raw(self):
        """Pieces of the request body as they arrive, framing removed."""
        if self.h.get("transfer-encoding", "").lower().endswith("chunked"):
            while True:
                size = int(self.line().split(b";")[0].strip() or b"x", 16)
                if size == 0:
                    while self.line():
                        pass
                    break
                left = size
                while left:
                    if not self.buf:
                        self.more()
                    piece = bytes(self.buf[:left])
                    del self.buf[:len(piece)]
                    left -= len(piece)
                    yield piece
                self.line()
        else:
            left = int(self.h.get("content-length", "0") or 0)
            while left:
                if not self.buf:
                    self.more()
                piece = bytes(self.buf[:left])
                del self.buf[:len(piece)]
                left -= len(piece)
                yield piece
        self.body_done = True

    def body(self):
        """Body pieces with Content-Encoding and then the native block format removed."""
        src = self.body_raw()
        enc = self.h.get("content-encoding", "").strip().lower()
        if enc == "lz4":
            src = frames(lz4.frame.LZ4FrameDecompressor, src)
        elif enc in ("gzip", "deflate", "x-gzip"):
            z = zlib.decompressobj(47)
            src = (z.decompress(p) for p in src)
        elif enc == "zstd" and zstd:
            src = frames(zstd.ZstdDecompressor, src)
        elif enc not in ("", "identity"):
            raise ChError(89, "UNKNOWN_COMPRESSION_METHOD", f"Unknown compression method {enc}")
        if self.q.get("decompress") in ("1", "true"):
            acc, raw = bytearray(), iter(src)
            def read(n):
                while len(acc) < n:
                    piece = next(raw, None)
                    if piece is None:
                        break
                    acc.extend(piece)
                out = bytes(acc[:n])
                del acc[:n]
                return out
            src = native_blocks(read)
        return (p for p in src if p)

    # -- writing ---------------------------------------------------------------
    def send(self, data):
        self.conn.sendall(data)

    def head(self, status, headers, length=None):
        reason = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
                  408: "Request Timeout", 411: "Length Required", 413: "Content Too Large",
                  500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable"}.get(status, "X")
        out = [f"HTTP/1.1 {status} {reason}",
               "Date: " + time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
               "Connection: " + ("Keep-Alive" if self.keep else "Close")]
        if self.keep:
            out.append("Keep-Alive: timeout=10, max=9999")
        out += [f"{k}: {v}" for k, v in headers]
        out.append(f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked")
        self.send(("\r\n".join(out) + "\r\n\r\n").encode())

    def plain(self, status, text, extra=()):
        data = text if isinstance(text, bytes) else text.encode()
        self.head(status, [("Content-Type", "text/plain; charset=UTF-8"), *extra], len(data))
        if self.method != "HEAD":
            self.send(data)

    # -- one connection --------------------------------------------------------
    def run(self):
        try:
            self.conn.settimeout(self.s.args.idle)
            while not self.s.stopping.is_set():
                if not self.request():
                    break
        except (Disconnected, OSError, ValueError):
            pass
        finally:
            try:
                self.conn.close()
            except OSError:
                pass

    def request(self):
        try:
            first = self.line()
        except (Disconnected, OSError):
            return False
        if not first:
            return True
        with self.s.alock:
            self.s.active += 1
        try:
            return self.one(first)
        finally:
            with self.s.alock:
                self.s.active -= 1

    def one(self, first):
        parts = first.decode("latin-1").split(" ")
        if len(parts) != 3:
            return False
        self.method, target, proto = parts
        self.h = {}
        while True:
            l = self.line()
            if not l:
                break
            k, _, v = l.decode("latin-1").partition(":")
            self.h[k.strip().lower()] = v.strip()
        self.keep = proto == "HTTP/1.1" and self.h.get("connection", "").lower() != "close"
        self.body_done = not (self.h.get("transfer-encoding") or int(self.h.get("content-length", "0") or 0))
        url = urlsplit(target)
        self.q = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=False))
        if self.h.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if url.path in ("/ping", "/replicas_status"):
            self.drain()
            self.plain(200, "Ok.\n")
            return self.keep
        if url.path == "/rows-read":  # of our own: what all questions have read so far, which chDB has no log of
            self.drain()
            self.plain(200, f"{self.s.rows_read}\n")
            return self.keep
        if url.path not in ("/", "/query", ""):
            self.drain()
            self.plain(404, f"There is no handle {url.path}\n\nUse / or /ping for health checks.\n"
                            "Or /replicas_status for more sophisticated health checks.\n\n"
                            "Send queries from your program with POST method or GET /?query=...\n")
            return self.keep
        self.started = False
        self.qid = self.q.get("query_id") or str(uuid.uuid4())
        self.tag = "".join(random.choices(string.ascii_lowercase, k=16))
        try:
            self.handle()
        except ChError as e:
            self.fail(e.code, e.text)
        except Disconnected:
            return False
        except (BrokenPipeError, ConnectionResetError):
            return False
        except Exception as e:  # the engine's errors come as RuntimeError/ChdbError
            self.fail(*from_engine(e))
        return self.keep and not self.s.stopping.is_set()

    def drain(self):
        try:
            if not self.body_done:
                left = 64 << 20
                for p in self.body_raw():
                    left -= len(p)
                    if left < 0:
                        raise Disconnected()
        except ValueError:
            raise Disconnected()

    def fail(self, code, text):
        text = with_version(text, self.s.version)
        sys.stderr.write(f"{self.qid} {self.method} {self.q.get('query', '')[:120]!r} -> {text}")
        sys.stderr.flush()
        if self.started:
            msg = text.encode()
            block = (b"\r\n__exception__\r\n" + self.tag.encode() + b"\r\n" + msg +
                     f"{len(msg)} {self.tag}".encode() + b"\r\n__exception__\r\n")
            try:
                self.chunk(block)
                self.finish_chunks()
            finally:
                self.keep = False
            return
        if not self.body_done:
            # the rest of the request cannot be skipped cheaply: answer, then close
            self.keep = False
        self.plain(status_of(code), text, self.common() + [("X-ClickHouse-Exception-Code", code)])
        if not self.body_done:
            try:
                self.conn.shutdown(socket.SHUT_WR)
                self.conn.settimeout(2)
                while self.conn.recv(1 << 18):
                    pass
            except OSError:
                pass

    def common(self):
        return [("X-ClickHouse-Server-Display-Name", "chdb-front"), ("X-ClickHouse-Query-Id", self.qid),
                ("X-ClickHouse-Timezone", "UTC"), ("X-ClickHouse-Exception-Tag", self.tag)]

    # -- a query ---------------------------------------------------------------
    def auth(self):
        a = self.s.args
        user, key = self.h.get("x-clickhouse-user"), self.h.get("x-clickhouse-key", "")
        if user is None and "x-clickhouse-key" in self.h:
            user = "default"
        basic = self.h.get("authorization", "")
        if user is None and basic.lower().startswith("basic "):
            try:
                user, _, key = base64.b64decode(basic[6:]).decode().partition(":")
            except Exception:
                user, key = "", ""
        if user is None and ("user" in self.q or "password" in self.q):
            user, key = self.q.get("user", "default"), self.q.get("password", "")
        user = user or "default"
        if user != a.user or key != a.password:
            raise ChError(516, "AUTHENTICATION_FAILED",
                          f"{user}: Authentication failed: password is incorrect, or there is no user with such name.")

    def handle(self):
        self.auth()
        params = {k[6:]: v for k, v in self.q.items() if k.startswith("param_")}
        sql, data = self.q.get("query", ""), None
        ctype = self.h.get("content-type", "")
        if ctype.startswith("multipart/form-data"):
            for name, value in self.multipart(ctype, b"".join(self.body())):
                if name == "query":
                    sql += value.decode()
                elif name.startswith("param_"):
                    params[name[6:]] = value.decode()
                else:
                    raise ChError(48, "NOT_IMPLEMENTED", "External tables are not supported by this front")
        elif self.method == "POST":
            if not sql.strip():
                sql = self.read_head()
                ins = split_insert(sql) if sql.lstrip()[:6].upper() == "INSERT" or "insert" in sql[:200].lower() else None
                if ins is None:
                    sql += b"".join(self.rest).decode("utf-8")
                    self.rest = iter(())
                data = self.rest
            else:
                data = self.body()
                head = sql.lstrip()[:6].upper()
                if head != "INSERT" and split_insert(sql) is None:
                    sql += "\n" + b"".join(data).decode("utf-8")
                    data = iter(())
        if not sql.strip():
            self.drain()
            if self.method == "GET" and not self.q:
                self.plain(200, "Ok.\n")
                return
            raise ChError(62, "SYNTAX_ERROR", "Syntax error: failed at position 1 (end of query): Empty query")
        sid = self.q.get("session_id")
        if sid:
            sess = self.s.session(sid, min(float(self.q.get("session_timeout", 60)), 3600), self.q.get("session_check") == "1")
            conn = sess["conn"]
        else:
            sess, conn = None, chdb.connect(self.s.path)
        try:
            self.prepare(conn)
            ins = split_insert(sql)
            if ins:
                self.insert(conn, ins, data if data is not None else iter(()), params)
            else:
                self.select(conn, single_statement(sql), params)
        finally:
            if sess:
                sess["lock"].release()
            else:
                conn.close()

    def read_head(self):
        """Query text at the start of a POST body; what follows stays in self.rest."""
        src, acc = self.body(), bytearray()
        for piece in src:
            acc += piece
            if len(acc) >= 1 << 16:
                break
        probe = bytes(acc)
        text = probe.decode("utf-8", "surrogateescape")
        ins = split_insert(text) if re.match(r"\s*(--.*\n|/\*.*?\*/|\s)*insert\b", text, re.I | re.S) else None
        if ins:
            rest0 = ins[2].encode("utf-8", "surrogateescape")
            fmt = f" FORMAT {ins[1]}" if ins[1] and ins[1] != "Values" else (" VALUES" if ins[1] else "")
            self.rest = (p for p in self.chain(rest0, src))
            return ins[0] + fmt
        self.rest = src
        return probe.decode("utf-8", "surrogateescape").encode("utf-8", "surrogateescape").decode("utf-8")

    @staticmethod
    def chain(first, src):
        if first:
            yield first
        yield from src

    @staticmethod
    def multipart(ctype, data):
        m = re.search(r'boundary="?([^";]+)"?', ctype)
        if not m:
            raise ChError(36, "BAD_ARGUMENTS", "multipart request without boundary")
        for part in data.split(b"--" + m.group(1).encode())[1:]:
            if part.startswith(b"--"):
                break
            head, _, value = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
            name = re.search(rb'name="([^"]*)"', head)
            yield (name.group(1).decode() if name else ""), value[:-2] if value.endswith(b"\r\n") else value

    def prepare(self, conn):
        db = self.q.get("database") or self.h.get("x-clickhouse-database") or self.s.args.database
        conn.query("USE `%s`" % db.replace("\\", "\\\\").replace("`", "\\`"))
        sets = []
        for k, v in self.q.items():
            if k in RESERVED or k.startswith("param_"):
                continue
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", k):
                raise ChError(115, "UNKNOWN_SETTING", f"Unknown setting '{k}'")
            sets.append("%s = '%s'" % (k, v.replace("\\", "\\\\").replace("'", "\\'")))
        if self.method == "GET" and "readonly" not in self.q:
            sets.append("readonly = 2")
        if sets:
            conn.query("SET " + ", ".join(sets))

    def insert(self, conn, ins, data, params):
        if self.method == "GET":
            raise ChError(164, "READONLY", "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly.")
        head, fmt, inline = ins
        fmt = fmt or self.q.get("default_format") or self.h.get("x-clickhouse-format") or "Values"
        if params and re.search(r"\{\s*[A-Za-z_]\w*\s*:", head + inline):
            rest = b"".join(data).decode()
            conn.query(f"{head} {'VALUES' if fmt == 'Values' else 'FORMAT ' + fmt} {inline}{rest}", "Null", params=params)
            return self.empty(None)
        if self.has_constraint(conn, head):
            return self.insert_checked(conn, head, fmt, inline, data)
        w = conn.send_insert(head, fmt)
        done = False
        try:
            if inline.strip():
                w.append(inline.rstrip().rstrip(";").encode("utf-8", "surrogateescape"))
            for piece in data:
                w.append(piece)
            done = True
        finally:
            if not done:
                w.cancel()
        res = w.finish()
        self.empty(res)

    @staticmethod
    def has_constraint(conn, head):
        m = re.match(r"\s*INSERT\s+INTO\s+(?:TABLE\s+)?([\w.`]+)", head, re.I)
        if not m:
            return False
        try:
            return b"CONSTRAINT" in conn.query(f"SHOW CREATE TABLE {m.group(1)}", "TSV").bytes()
        except Exception:
            return False  # there is no such table: the insert says so

    def insert_checked(self, conn, head, fmt, inline, data):
        """As one statement out of a file: a stream into the engine ends well where a constraint has refused its rows."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(inline.encode("utf-8", "surrogateescape"))
            for piece in data:
                file.write(piece)
            file.flush()
            conn.query(f"{head} SELECT * FROM file('{file.name}', '{fmt}')")
        self.empty(None)

    def empty(self, res):
        summary = {"read_rows": "0", "read_bytes": "0", "written_rows": "0", "written_bytes": "0",
                   "total_rows_to_read": "0", "result_rows": "0", "result_bytes": "0", "elapsed_ns": "0"}
        if res is not None:
            summary.update(written_rows=str(res.rows_written), written_bytes=str(res.bytes_written),
                           result_rows=str(res.rows_written), result_bytes=str(res.bytes_written),
                           read_rows=str(res.rows_written), read_bytes=str(res.bytes_written))
        self.drain()
        self.head(200, [("Content-Type", "text/plain; charset=UTF-8"), *self.common(),
                        ("X-ClickHouse-Summary", json.dumps(summary, separators=(",", ":")))], 0)

    def encoder(self):
        if self.q.get("compress") in ("1", "true"):
            return None, native_block, lambda: b"", b""
        if self.q.get("enable_http_compression", "1") in ("0", "false"):
            return None, lambda b: b, lambda: b"", b""
        accept = [x.split(";")[0].strip().lower() for x in self.h.get("accept-encoding", "").split(",")]
        for name in accept:
            if name == "lz4":
                c = lz4.frame.LZ4FrameCompressor(auto_flush=True)
                return "lz4", c.compress, c.flush, c.begin()
            if name == "zstd" and zstd:
                z = zstd.ZstdCompressor()
                return "zstd", lambda b: z.compress(b, zstd.ZstdCompressor.FLUSH_BLOCK), lambda: z.flush(), b""
            if name in ("gzip", "deflate"):
                g = zlib.compressobj(3, zlib.DEFLATED, 31 if name == "gzip" else 15)
                return name, lambda b: g.compress(b) + g.flush(zlib.Z_SYNC_FLUSH), g.flush, b""
        return None, lambda b: b, lambda: b"", b""

    def chunk(self, data):
        data = self.encode(data)
        if data:
            self.send(b"%x\r\n" % len(data) + data + b"\r\n")

    def finish_chunks(self):
        tail = self.end()
        if tail:
            self.send(b"%x\r\n" % len(tail) + tail + b"\r\n")
        self.send(b"0\r\n\r\n")

    def begin(self, fmt):
        name, self.encode, self.end, prefix = self.encoder()
        summary = {"read_rows": "0", "read_bytes": "0", "written_rows": "0", "written_bytes": "0",
                   "total_rows_to_read": "0", "result_rows": "0", "result_bytes": "0", "elapsed_ns": "0"}
        headers = [("Content-Type", CTYPE.get(fmt, "text/plain; charset=UTF-8")), ("X-ClickHouse-Format", fmt),
                   *self.common(), ("X-ClickHouse-Summary", json.dumps(summary, separators=(",", ":")))]
        if name:
            headers.append(("Content-Encoding", name))
        self.head(200, headers)
        self.started = True
        if prefix:
            self.send(b"%x\r\n" % len(prefix) + prefix + b"\r\n")

    def gone(self):
        r, _, _ = select.select([self.conn], [], [], 0)
        if not r:
            return False
        try:
            return self.conn.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def select(self, conn, sql, params):
        fmt = output_format(sql) or self.q.get("default_format") or self.h.get("x-clickhouse-format") or "TabSeparated"
        first = next(tokens(sql), ("", 0, 0))[0]
        self.drain()
        stream = None
        if first in STREAMED and fmt.lower() in STREAM_FORMATS:
            try:
                stream = conn.send_query(sql, fmt, params=params)
            except Exception as e:
                if "Streaming query is not supported" not in str(e):
                    raise
        if stream is None:
            res = conn.query(sql, fmt, params=params)
            data = self.s.count(res).bytes() if res is not None else b""
            self.begin(fmt)
            if data:
                self.chunk(data)
            self.finish_chunks()
            return
        done, empty = False, False
        try:
            pending = None
            if self.q.get("wait_end_of_query") == "1":
                parts = [self.s.count(c).bytes() for c in stream]
                cut = rbwnat_header(parts[0]) if parts and parts[0] and fmt.lower() == "rowbinarywithnamesandtypes" else b""
                pending = b"".join(parts[:1] + [x[len(cut):] if cut and x.startswith(cut) else x for x in parts[1:]])
                self.begin(fmt)
                if pending:
                    self.chunk(pending)
                empty = not pending
            else:
                head, cut = None, b""
                for piece in stream:
                    data = self.s.count(piece).bytes()
                    if head is None:
                        head = data
                        if fmt.lower() == "rowbinarywithnamesandtypes" and data:
                            cut = rbwnat_header(data)
                        self.begin(fmt)
                    elif cut and data.startswith(cut):
                        data = data[len(cut):]
                        if self.gone():
                            raise Disconnected()
                    elif self.gone():
                        raise Disconnected()
                    if data:
                        self.chunk(data)
                if head is None:
                    self.begin(fmt)
                empty = not head
            done = True
        finally:
            if not done:
                try:
                    stream.cancel()
                except Exception:
                    pass
            stream.close()
        if empty and "with" in fmt.lower():
            # a stream without rows has no block that could carry the header, which ClickHouse sends all the same
            header = conn.query(sql, fmt, params=params).bytes()
            if header:
                self.chunk(header)
        self.finish_chunks()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--user", default="default")
    p.add_argument("--password", default="")
    p.add_argument("--database", default="default")
    p.add_argument("--grace", type=float, default=10)
    p.add_argument("--idle", type=float, default=60)
    Server(p.parse_args()).serve()


if __name__ == "__main__":
    main()
