//! Random bytes as a token, and as the payload of one. Nobody but the holder of the key can sign, and claims that are
//! accepted survive being minted and verified.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use homestak_protocol::token::{self, SigningKey, TokenError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = SigningKey::from_bytes([7; 32]);
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(token::verify(&key, text).is_err(), "a token of somebody else's making was taken");
        let _ = token::inspect(text);
        let _ = SigningKey::parse_hex(text);
    }
    let unsigned = format!("{}.{}", URL_SAFE_NO_PAD.encode(data), URL_SAFE_NO_PAD.encode([0; 32]));
    let Ok(claims) = token::inspect(&unsigned) else { return };
    assert_eq!(token::verify(&key, &unsigned), Err(TokenError::Signature));
    let minted = token::mint(&key, &claims).expect("claims that were read can be minted");
    match token::verify(&key, &minted) {
        Ok(again) => assert_eq!(again, claims),
        // Escapes make a payload longer than it was; past the limit it is no longer looked at.
        Err(TokenError::Malformed) => assert!(minted.len() > token::MAX_TOKEN),
        Err(other) => panic!("a token of our own was refused: {other}"),
    }
});
