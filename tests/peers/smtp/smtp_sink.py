#!/usr/bin/env python3
"""An SMTP server that keeps what it is given: STARTTLS and AUTH (PLAIN, LOGIN) are asked for, each message becomes
N.eml and N.json in the folder. Receivers say how it behaves:

reject@     550, always              later@   451 the first two times, then as everybody
cut@        the connection is cut in the middle of the message the first two times, then as everybody
hold@       the first message is kept and never answered, then as everybody

usage: smtp_sink.py FOLDER [tls]     with `tls`: TLS from the first byte"""

import asyncio
import collections
import json
import os
import ssl
import subprocess
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

folder = sys.argv[1]
wrapped = sys.argv[2:] == ["tls"]
os.makedirs(folder, exist_ok=True)
certificate, key = os.path.join(folder, "ca.pem"), os.path.join(folder, "key.pem")
subprocess.run(
    ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
     "-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
     "-addext", "basicConstraints=critical,CA:FALSE"],
    check=True, capture_output=True)
USERS = {b"mailer": b"secret"}
tries = collections.Counter()


def write(name, data):
    path = os.path.join(folder, name)
    with open(path + ".part", "wb") as file:
        file.write(data)
    os.rename(path + ".part", path)


class Handler:
    kept = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        who = address.split("@")[0]
        tries[who] += 1
        write("tries", json.dumps(tries).encode())
        if who == "reject":
            return "550 5.1.1 no such user"
        if who == "later" and tries[who] <= 2:
            return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        who = envelope.rcpt_tos[0].split("@")[0]
        if who == "cut" and tries[who] <= 2:
            server.transport.abort()
            return "451 4.3.0 nobody hears this"
        Handler.kept += 1
        write(f"{Handler.kept}.eml", envelope.content)
        login = session.auth_data.login.decode() if isinstance(session.auth_data, LoginPassword) else None
        said = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": wrapped or session.ssl is not None,
                "user": login}
        write(f"{Handler.kept}.json", json.dumps(said).encode())
        if who == "hold" and tries[who] == 1:
            await asyncio.Event().wait()
        return f"250 OK queued as {Handler.kept}"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and USERS.get(data.login) == data.password
    return AuthResult(success=good, handled=good, auth_data=data)  # handled=False lets the server answer 535


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def smtp():
        tls = {} if wrapped else {"tls_context": context, "require_starttls": True}
        return SMTP(Handler(), hostname="localhost", auth_required=True, auth_require_tls=not wrapped,
                    authenticator=authenticate, enable_SMTPUTF8=True, **tls)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(smtp, "127.0.0.1", 0, ssl=context if wrapped else None)
    print(f"READY {server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
