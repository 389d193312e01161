//! The peers start, take load without an error, and are gone afterwards. Where one is not installed, the error must say what to install.

use std::{net::SocketAddr, path::Path, sync::atomic::AtomicBool, time::Duration};

use trireme_bench::{
    client::Client,
    load::{
        self, Keys, Protocol, Report, Workload,
        grpc::EtcdPut,
        resp::{Command, Resp, Wait},
    },
    peers::{
        self,
        etcd::Etcd,
        redis::{Persistence, Redis},
    },
};

static STOP: AtomicBool = AtomicBool::new(false);
const REQUESTS: u64 = 2000;

fn drive(address: SocketAddr, pipeline: usize, protocol: &impl Protocol) -> Report {
    let workload = Workload {
        addresses: vec![address],
        connections: 10,
        pipeline,
        keys: Keys::Sequential(REQUESTS),
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(60),
        rate: None,
        requests_max: Some(REQUESTS),
    };
    load::run(&workload, protocol, &STOP).expect("a load")
}

fn installed<T>(peer: Result<T, String>, program: &str, package: &str) -> Option<T> {
    if peers::version(program, package).is_ok() {
        return Some(peer.expect("an installed peer starts"));
    }
    let error = peer.err().expect("what is not installed cannot start");
    assert!(error.contains(&format!("apt-get install {package}")), "{error}");
    None
}

fn in_a_folder(test: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    test(folder.path());
    assert_eq!(folder.path().read_dir().expect("still a folder").count(), 0, "a peer removes its folder");
}

#[test]
fn redis_confirms_every_write_by_a_replica() {
    in_a_folder(|folder| {
        let redis = Redis::start(folder, 1, Persistence::Always, &STOP);
        let Some(redis) = installed(redis, "redis-server", peers::redis::PACKAGE) else { return };
        for (wait, pipeline) in [(Wait::WithBatch(1), 16), (Wait::WithBatch(1), 1), (Wait::TwoStep(1), 4)] {
            let resp = Resp::new(Command::Set, wait, 16, 100, REQUESTS).unwrap();
            let report = drive(redis.address(), pipeline, &resp);
            assert_eq!((report.errors_text().as_str(), report.latency_us.len()), ("none", REQUESTS), "{wait:?}");
        }
        let mut client = Client::connect(redis.address()).unwrap();
        assert_eq!(client.bulk(&[b"DBSIZE"]).unwrap().unwrap(), REQUESTS.to_string().into_bytes());
        let too_many = Resp::new(Command::Set, Wait::TwoStep(0), 16, 100, REQUESTS).unwrap();
        assert_eq!(drive(redis.address(), 1, &too_many).errors_total(), 0);
        let address = redis.address();
        drop(redis);
        assert!(Client::connect(address).is_err(), "redis-server is gone");
    });
}

#[test]
fn etcd_takes_puts_at_its_leader() {
    in_a_folder(|folder| {
        let etcd = Etcd::start(folder, &STOP);
        let Some(etcd) = installed(etcd, "etcd", peers::etcd::PACKAGE) else { return };
        let keys = Resp::new(Command::Set, Wait::No, 16, 100, REQUESTS).unwrap();
        let report = drive(etcd.leader(), 1, &EtcdPut::new(keys, 100));
        assert_eq!((report.errors_text().as_str(), report.latency_us.len()), ("none", REQUESTS));
    });
}
