//! What becomes of the files that say how a device is addressed.

use super::*;

fn wanted(text: &str) -> spec::Network {
    serde_json::from_str(text).unwrap()
}

fn one() -> spec::Network {
    wanted(r#"{"ip": "192.0.2.78/25", "gateway": "192.0.2.1", "dns": ["192.0.2.53", "2001:db8::53"]}"#)
}

#[test]
fn an_address_is_in_the_network_of_its_gateway() {
    assert_eq!(one().address(), "192.0.2.78/25");
    let usual = wanted(r#"{"ip": "192.0.2.78", "gateway": "192.0.2.254"}"#);
    assert_eq!((usual.address().as_str(), usual.dns.len()), ("192.0.2.78/24", 0));
    for (bad, why) in [
        (r#"{"ip": "192.0.2.78", "gateway": "198.51.100.1"}"#, "192.0.2.78/24"),
        (r#"{"ip": "192.0.2.78/25", "gateway": "192.0.2.254"}"#, "192.0.2.78/25"),
        (r#"{"ip": "192.0.2.78/33", "gateway": "192.0.2.1"}"#, "192.0.2.78/33"),
        (r#"{"ip": "192.0.2.78\nDNS=x", "gateway": "192.0.2.1"}"#, "no IPv4 address"),
        (r#"{"ip": "192.0.2.78"}"#, "gateway"),
    ] {
        let error = serde_json::from_str::<spec::Network>(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
}

#[test]
fn networkds_file_takes_the_address_and_keeps_the_rest() {
    let base = "# somebody's\n[Match]\nName=e*\n[Link]\nMTUBytes=1400\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\
                Address=192.0.2.9/24\nAddress=2001:db8::9/64\nGateway=192.0.2.254\nDNS=192.0.2.2\nDomains=old.example\n\
                [Address]\nAddress=192.0.2.10/24\n[Address]\nAddress=2001:db8::10/64\n\
                [Route]\nGateway=192.0.2.254\n[Route]\nDestination=198.51.100.0/24\nGateway=192.0.2.3\n";
    let net = one();
    let wanted = Wanted { net: &net, domain: Some("tree.example") };
    let text = networkd::text(base, "eth0", &wanted);
    let expected = "# by homestak-agent, as this machine's spec has it\n\n[Match]\nName=eth0\n\n[Network]\nAddress=192.0.2.78/25\n\
                    Gateway=192.0.2.1\nDNS=192.0.2.53\nDNS=2001:db8::53\nDomains=tree.example\nDHCP=ipv6\nIPv6AcceptRA=yes\n\
                    Address=2001:db8::9/64\n\n[Link]\nMTUBytes=1400\n\n[Address]\nAddress=2001:db8::10/64\n\n\
                    [Route]\nDestination=198.51.100.0/24\nGateway=192.0.2.3\n";
    assert_eq!(text, expected);
    assert_eq!(networkd::text(&text, "eth0", &wanted), text, "made of itself it stays the same");
}

#[test]
fn ifupdowns_stanza_takes_the_address_and_keeps_the_rest() {
    let base = "auto lo\niface lo inet loopback\n\nauto vmbr0\n# the bridge\niface vmbr0 inet dhcp\n\tbridge-ports eno1\n\
                \thostname pve\n\taddress 192.0.2.9\n\tbridge-fd 0\niface vmbr0 inet6 auto\n\tdns-nameservers 2001:db8::1\n";
    let net = one();
    let wanted = Wanted { net: &net, domain: None };
    let text = ifupdown::text(base, "vmbr0", &wanted);
    let expected = "auto lo\niface lo inet loopback\n\nauto vmbr0\n# the bridge\niface vmbr0 inet static\n\taddress 192.0.2.78/25\n\
                    \tgateway 192.0.2.1\n\tdns-nameservers 192.0.2.53 2001:db8::53\n\tbridge-ports eno1\n\tbridge-fd 0\n\
                    iface vmbr0 inet6 auto\n\tdns-nameservers 2001:db8::1\n";
    assert_eq!(text, expected);
    assert_eq!(ifupdown::text(&text, "vmbr0", &wanted), text);
}

#[test]
fn the_resolver_asks_these_servers_and_keeps_its_options() {
    let net = one();
    let wanted = Wanted { net: &net, domain: Some("tree.example") };
    let text = resolver("# mine\nsearch old.example\nnameserver 192.0.2.2\noptions timeout:1\n", &wanted);
    assert_eq!(
        text,
        format!(
            "{HEAD}search tree.example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n# mine\noptions timeout:1\n"
        )
    );
    assert_eq!(resolver(&text, &wanted), text);
}
