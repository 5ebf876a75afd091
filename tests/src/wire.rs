//! A wire between a program and PostgreSQL that can be listened to and cut at an exact place: before a statement
//! reaches PostgreSQL, or after PostgreSQL has carried it out and before anybody hears of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use crate::postgres::TestDb;

/// Where to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// PostgreSQL never hears of the statement.
    Before,
    /// PostgreSQL has carried it out, its transaction has ended if it is one of its own; the answer is lost.
    After,
}

/// What to wait for.
#[derive(Clone, Debug)]
struct Trap {
    /// Bytes of a message to PostgreSQL: a statement's text or one of its parameters.
    needle: Vec<u8>,
    /// How many such messages still pass.
    pass: u32,
    cut: Cut,
}

#[derive(Default)]
struct Shared {
    trap: Mutex<Option<Trap>>,
    round_trips: AtomicU64,
    sprung: watch::Sender<bool>,
    hung_up: watch::Sender<bool>,
}

/// A listening proxy. Dropping it cuts all connections.
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Wire {
    /// Starts it for the cluster of the test binary.
    pub async fn start() -> Self {
        let cluster = crate::postgres::cluster().await.options("postgres");
        let folder = cluster.get_socket().cloned().unwrap_or_else(|| PathBuf::from(cluster.get_host()));
        let socket = folder.join(format!(".s.PGSQL.{}", cluster.get_port()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it listens").port();
        let shared: Arc<Shared> = Arc::default();
        let of_task = shared.clone();
        let task = tokio::spawn(async move {
            let mut wires = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.expect("PostgreSQL listens");
                wires.spawn(carry(client, server, of_task.clone()));
            }
        });
        Self { port, shared, task }
    }

    /// How to connect to a database through it.
    pub fn options(&self, db: &TestDb) -> PgConnectOptions {
        let direct = db.options();
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(direct.get_username())
            .database(direct.get_database().expect("a test's database has a name"))
            .ssl_mode(sqlx::postgres::PgSslMode::Disable)
    }

    /// A URL of a database through it.
    pub fn url(&self, db: &TestDb) -> String {
        let direct = db.options();
        let (user, name) =
            (direct.get_username(), direct.get_database().expect("a test's database has a name"));
        format!("postgres://{user}@127.0.0.1:{}/{name}?sslmode=disable", self.port)
    }

    /// Sets the trap for the next message with these bytes.
    pub fn cut(&self, cut: Cut, needle: &str) {
        self.cut_after(0, cut, needle);
    }

    /// Sets the trap for the message with these bytes that comes after `pass` others with them.
    pub fn cut_after(&self, pass: u32, cut: Cut, needle: &str) {
        *self.shared.trap() = Some(Trap { needle: needle.as_bytes().to_vec(), pass, cut });
        self.shared.sprung.send_replace(false);
        self.shared.hung_up.send_replace(false);
    }

    /// Ends the connection that is silent; who had it may make another one.
    pub fn hang_up(&self) {
        self.shared.hung_up.send_replace(true);
    }

    /// Waits until the trap has sprung. The connection is silent from then on; others go on.
    pub async fn sprung(&self) {
        let mut sprung = self.shared.sprung.subscribe();
        sprung.wait_for(|sprung| *sprung).await.expect("we hold the sender");
    }

    /// How often PostgreSQL was asked and had to answer before anything else could be asked.
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Keeps a connection open and silent, until it is ended.
    async fn silence(&self) -> Option<()> {
        self.sprung.send_replace(true);
        self.hung_up.subscribe().wait_for(|hung_up| *hung_up).await.ok()?;
        None
    }

    fn trap(&self) -> MutexGuard<'_, Option<Trap>> {
        self.trap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to cut, when this is the message that was waited for. A trap springs once.
    fn springs(&self, message: &[u8]) -> Option<Cut> {
        let mut slot = self.trap();
        let trap = slot.as_mut()?;
        if !message.windows(trap.needle.len()).any(|part| part == trap.needle) {
            return None;
        }
        if trap.pass > 0 {
            trap.pass -= 1;
            return None;
        }
        slot.take().map(|trap| trap.cut)
    }
}

/// Carries messages both ways until either side ends or the trap springs; then holds both sides open and silent, until
/// they are hung up.
async fn carry(client: TcpStream, server: UnixStream, shared: Arc<Shared>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (armed, is_armed) = watch::channel(false);
    let up = async {
        // The first message has no type.
        let mut first = vec![0; 4];
        from_client.read_exact(&mut first).await.ok()?;
        let length = u32::from_be_bytes(first[..4].try_into().expect("four bytes"));
        first.resize(length as usize, 0);
        from_client.read_exact(&mut first[4..]).await.ok()?;
        to_server.write_all(&first).await.ok()?;
        let mut is_asking = false;
        loop {
            let message = read(&mut from_client).await?;
            // A sync that ends nothing is the pool's own ping, after the fact: nobody waits for it.
            if message[0] == b'Q' || (message[0] == b'S' && std::mem::take(&mut is_asking)) {
                shared.round_trips.fetch_add(1, Ordering::SeqCst);
            } else {
                is_asking = message[0] != b'S';
            }
            match shared.springs(&message) {
                Some(Cut::Before) => shared.silence().await?,
                Some(Cut::After) => drop(armed.send_replace(true)),
                None => {}
            }
            write(&mut to_server, &message).await?;
        }
        #[expect(unreachable_code, reason = "it gives the block its type")]
        Some(())
    };
    let down = async {
        loop {
            let message = read(&mut from_server).await?;
            if *is_armed.borrow() {
                if message[0] == b'Z' {
                    shared.silence().await?;
                }
                continue; // nobody hears of it
            }
            write(&mut to_client, &message).await?;
        }
        #[expect(unreachable_code, reason = "it gives the block its type")]
        Some(())
    };
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
}

/// One message: a type, a length, a body.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut message = vec![0; 5];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[1..5].try_into().expect("four bytes"));
    message.resize(length as usize + 1, 0);
    from.read_exact(&mut message[5..]).await.ok()?;
    Some(message)
}

async fn write(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> Option<()> {
    to.write_all(message).await.ok()
}
