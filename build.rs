//! Compiles bpf/ and generates the skeletons, for the recorder only.

// A build script has no other way to fail.
#![allow(clippy::expect_used, clippy::panic)]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "record")]
    skeletons::generate();
}

#[cfg(feature = "record")]
mod skeletons {
    use std::env;
    use std::path::Path;

    use libbpf_cargo::SkeletonBuilder;

    pub(super) fn generate() {
        // The builder itself names no file to watch.
        println!("cargo:rerun-if-changed=bpf");
        let target_os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
        assert!(
            target_os == "linux",
            "recording needs Linux: build with --no-default-features for the offline commands"
        );
        let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the architecture");
        let out = env::var("OUT_DIR").expect("cargo sets the output folder");
        for name in ["packets", "events", "tracepoints", "top"] {
            SkeletonBuilder::new()
                .source(format!("bpf/{name}.bpf.c"))
                .clang_args([
                    // The builder keeps warnings to itself.
                    "-Werror",
                    "-Wall",
                    "-mcpu=v3",
                    // Debian keeps <asm/types.h> in a folder per architecture,
                    // which clang does not search for the BPF target.
                    "-idirafter",
                    &format!("/usr/include/{arch}-linux-gnu"),
                ])
                .build_and_generate(Path::new(&out).join(format!("{name}.skel.rs")))
                .unwrap_or_else(|error| {
                    panic!(
                        "cannot compile bpf/{name}.bpf.c: {error:#}\n\
                         Recording needs clang and the headers of libc and the kernel \
                         (Debian: clang libelf-dev zlib1g-dev linux-libc-dev); \
                         --no-default-features builds without."
                    )
                });
        }
    }
}
