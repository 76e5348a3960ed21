use slipstream_test_support::{builders, secrets};

use super::*;

fn master(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; KEY_BYTES])
}

fn site(slug: &str) -> Tenant {
    Tenant::Site(builders::slug(slug))
}

fn subscription() -> Subscription {
    let account = builders::account().account.id;
    let mut subscription = builders::subscription(builders::SITE, account, "https://receiver.example/");
    subscription.headers = vec![builders::header("X-Key", "canary")];
    subscription
}

#[test]
fn a_subscription_is_sealed_and_opened_again() {
    let vault = Vault::new(master(1), None);
    let subscription = subscription();
    assert!(
        matches!(vault.sealed(subscription.clone()), Err(VaultError::NoKey(tenant)) if tenant == subscription.tenant())
    );
    assert!(vault.learn(&vault.new_key(&subscription.tenant())).unwrap());
    let sealed = vault.sealed(subscription.clone()).unwrap();
    assert!(sealed.secrets().all(SecretText::is_sealed));
    assert_eq!(vault.sealed(sealed.clone()).unwrap(), sealed, "what is sealed stays as it is");
    assert_ne!(vault.sealed(subscription.clone()).unwrap(), sealed, "each sealing has a nonce of its own");
    assert_eq!(vault.opened(sealed.clone()).unwrap(), subscription);
    assert_eq!(vault.opened(subscription.clone()).unwrap(), subscription, "what is open stays as it is");
    let mut moved = sealed.clone();
    moved.headers[0].name = "X-Other".to_owned();
    assert!(matches!(vault.opened(moved), Err(VaultError::Refused { .. })));
    let key = sealed.signing_keys[0].secret.sealed().unwrap().key();
    vault.forget(key);
    assert!(matches!(vault.opened(sealed), Err(VaultError::UnknownKey(id)) if id == key));
    assert!(!vault.has_key_of(&subscription.tenant()));
}

#[test]
fn a_key_of_another_master_is_refused_by_name_and_one_of_the_previous_is_not() {
    let (old, new) = (Vault::new(master(1), None), Vault::new(master(2), Some(master(1))));
    let record = old.new_key(&site(builders::SITE));
    let error = Vault::new(master(3), None).learn(&record).unwrap_err().to_string();
    for named in ["wrong master key", &master(1).id().to_string(), &master(3).id().to_string(), "site/s8n6EzC"] {
        assert!(error.contains(named), "{error}");
    }
    assert!(new.learn(&record).unwrap() && !new.learn(&record).unwrap());
    let wrapped = new.rewrap(&record).unwrap().expect("the previous key wrapped it");
    let rewrapped = WrappedKey { wrapped, revision: 2, ..record.clone() };
    assert_eq!(new.rewrap(&rewrapped).unwrap(), None, "it is wrapped by the current one");
    assert!(matches!(old.check(&rewrapped), Err(VaultError::WrongMasterKey { .. })));
    assert!(!new.learn(&rewrapped).unwrap());
    let secret = SecretText::new("canary");
    let place = Place::of_row("row", &1, "column");
    old.learn(&record).unwrap();
    let sealed = old.seal(&record.tenant, &secret, &place).unwrap();
    assert_eq!(new.unseal(&sealed, &place).unwrap(), secret, "it is the same data key");
    assert!(!old.learn(&rewrapped).unwrap(), "who knows the key goes on without the new master key");
}

#[test]
fn a_data_key_that_was_given_to_another_tenant_is_refused() {
    let vault = Vault::new(master(1), None);
    let record = WrappedKey { tenant: site("sUkLWZg"), ..vault.new_key(&site(builders::SITE)) };
    assert!(matches!(vault.learn(&record), Err(VaultError::BadDataKey { .. })));
}

#[test]
fn the_files_are_read_or_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    };
    let open = |master_key_file, previous_master_key_file| {
        Vault::open(&SecretsConfig { master_key_file, previous_master_key_file })
    };
    let good = file("good", format!("{}\n", secrets::MASTER_KEY).as_bytes());
    assert_eq!(open(good.clone(), None).unwrap().master_id(), secrets::master_key().id());
    assert!(matches!(open(None, good.clone()), Err(VaultError::NotConfigured)));
    let missing = Some(directory.path().join("missing"));
    for bad in [
        missing,
        file("empty", b""),
        file("binary", &[0xff; 32]),
        file("short", b"c2hvcnQ="),
        file("long", &[b'0'; 4096]),
    ] {
        let name = bad.as_ref().unwrap().display().to_string();
        let current = open(bad.clone(), None).unwrap_err().to_string();
        let previous = open(good.clone(), bad).unwrap_err().to_string();
        assert!(current.contains(&name) && previous.contains(&name), "{current} {previous}");
    }
}

#[test]
fn the_vault_does_not_print_its_keys() {
    let vault = Vault::new(master(b'c'), Some(master(b'c')));
    vault.learn(&vault.new_key(&Tenant::System)).unwrap();
    let printed = format!("{vault:?}");
    assert!(!printed.contains("cccc") && !printed.contains("636363") && !printed.contains("99, 99"), "{printed}");
}
