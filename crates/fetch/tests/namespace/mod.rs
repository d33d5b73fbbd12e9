//! Tests in a network of their own, with a name server that does what a test wants. Where a user may not make namespaces, such a
//! test is skipped with a message.

#![allow(clippy::print_stderr, reason = "a test says what it leaves out")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

/// Is set within the namespace.
const INSIDE: &str = "OVERLAPPED_TEST_NAMESPACE";

/// The settings of the resolver: one name server, of which little is waited for.
pub(crate) const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

/// Runs a test in new namespaces of users, networks and mounts. The test binary is started there again, for the test of this name
/// alone, after these lines of shell; `$1` is a file that takes the place of `resolv.conf`.
pub(crate) fn inside(test: &str, setup: &str, work: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        work();
        return;
    }
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--mount", "sh", "-c", script, "sh"]);
        command
    };
    let may = unshare("ip link set lo up && mount --bind /dev/null /etc/resolv.conf").output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: namespaces cannot be made here (unshare, ip, mount)");
        return;
    }
    let folder = std::env::temp_dir().join(format!("overlapped-names-{}-{test}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let conf = folder.join("resolv.conf");
    std::fs::write(&conf, RESOLV_CONF).unwrap();
    let script = format!(
        "set -e; ip link set lo up; mount --bind \"$1\" /etc/resolv.conf\n{setup}\nshift; exec \"$@\""
    );
    let output = unshare(&script)
        .arg(&conf)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, &conf)
        .output();
    let _ = std::fs::remove_dir_all(&folder);
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

/// What a name server says of a name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    /// This address.
    Is(IpAddr),
    /// This error: 2 is SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    Code(u8),
    /// That there is no address.
    Nothing,
    /// That the name is another name for itself.
    Loop,
    /// That the answer has no room, and is to be asked for over TCP, which nobody answers.
    Truncated,
    /// The answer to another question.
    WrongId,
    /// Bytes that are no answer.
    Garbage,
    /// Nothing at all.
    Silence,
}

/// A name server on port 53 of this network.
pub(crate) struct NameServer {
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// Each question is answered on a thread of its own, so that `says` may wait.
    pub(crate) fn start(says: impl Fn(&str) -> Says + Send + Sync + 'static) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:53").unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (says, heard) = (Arc::new(says), Arc::clone(&asked));
        thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut packet) {
                let question = packet[..length].to_vec();
                let name = name_of(&question);
                let is_v4 = question[question_end(&question) - 4..][..2] == [0, 1];
                if is_v4 {
                    heard.lock().unwrap().push(name.clone());
                }
                let (says, socket) = (Arc::clone(&says), Arc::clone(&socket));
                thread::spawn(move || {
                    if let Some(answer) = answer(&question, says(&name), is_v4) {
                        let _ = socket.send_to(&answer, peer);
                    }
                });
            }
        });
        Self { asked }
    }

    /// How often the IPv4 address of this name was asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }
}

const HEAD_BYTES: usize = 12;

fn name_of(question: &[u8]) -> String {
    let (mut at, mut labels) = (HEAD_BYTES, Vec::new());
    while question[at] > 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    labels.join(".")
}

fn question_end(question: &[u8]) -> usize {
    let name = question[HEAD_BYTES..].iter().position(|byte| *byte == 0).unwrap();
    HEAD_BYTES + name + 1 + 4
}

fn answer(question: &[u8], says: Says, is_v4: bool) -> Option<Vec<u8>> {
    let mut answer = question[..question_end(question)].to_vec();
    // A response, recursion available, no additional records.
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..HEAD_BYTES].fill(0);
    let mut record = |kind: u8, data: &[u8]| {
        answer[7] = 1;
        // The name of the question; class IN; for no time.
        answer.extend_from_slice(&[0xc0, HEAD_BYTES as u8, 0, kind, 0, 1, 0, 0, 0, 0, 0, data.len() as u8]);
        answer.extend_from_slice(data);
    };
    match says {
        Says::Is(IpAddr::V4(address)) if is_v4 => record(1, &address.octets()),
        Says::Is(IpAddr::V6(address)) if !is_v4 => record(28, &address.octets()),
        Says::Is(_) | Says::Nothing => {}
        Says::Loop => record(5, &[0xc0, HEAD_BYTES as u8]),
        Says::Code(code) => answer[3] |= code,
        Says::Truncated => answer[2] |= 2,
        Says::WrongId => answer[0] ^= 0xff,
        Says::Garbage => answer = vec![0xff; 3],
        Says::Silence => return None,
    }
    Some(answer)
}
