//! The flags that belong to the resume identity and are no setting of the engine.
//!
//! All flags are destructured without `..`, so a new one does not compile until it is decided whether it belongs here.

use std::path::Path;

use overlapped_fetch::durable::fingerprint;
use overlapped_proto::sanitize::redact;

use super::fetch::Flags;

/// The name and value of each such flag. `query`: what `-G` makes of the data. `has_archive`: an output is WARC.
pub(super) fn identity(flags: &Flags, query: Option<&str>, has_archive: bool) -> Vec<(String, String)> {
    let Flags {
        inputs,
        globoff,
        name,
        csv_safe,
        cdxj,
        no_body,
        upload_file,
        get,
        // The list: compared by its content, and by the engine's own settings.
        input_format: _,
        url_col: _,
        skip: _,
        limit: _,
        shard: _,
        // Outputs: compared by name.
        outputs: _,
        warc_max_size: _,
        // The response to one URL, which is not resumed.
        remote_name: _,
        remote_header_name: _,
        include: _,
        dump_header: _,
        // Settings of the engine, which has its own identity.
        body_dir: _,
        ordered: _,
        robots: _,
        polite: _,
        max_filesize: _,
        max_redirs: _,
        no_location: _,
        fail: _,
        request: _,
        headers: _,
        data: _,
        data_raw: _,
        data_binary: _,
        data_urlencode: _,
        data_order: _,
        form: _,
        form_string: _,
        form_order: _,
        hosts: _,
        keep: _,
        time_cond: _,
        json: _,
        head: _,
        user_agent: _,
        referer: _,
        cookies: _,
        cookie_jar: _,
        user: _,
        oauth2_bearer: _,
        netrc: _,
        netrc_file: _,
        range: _,
        continue_at: _,
        no_compressed: _,
        strict_http: _,
        resolve: _,
        connect_to: _,
        unix_socket: _,
        hsts: _,
        public_only: _,
        allow_addresses: _,
        // How a host is spoken to, and whether it can be reached and trusted.
        http1: _,
        http2: _,
        http2_prior_knowledge: _,
        proxy: _,
        proxy_user: _,
        noproxy: _,
        ipv4: _,
        ipv6: _,
        cacert: _,
        interface: _,
        cert: _,
        key: _,
        insecure_hosts: _,
        // Speed, memory, and how long a row is tried.
        parallel_max: _,
        parallel_max_host: _,
        rate: _,
        rate_host: _,
        no_adaptive: _,
        max_host_errors: _,
        host_down_after: _,
        retry: _,
        retry_max_time: _,
        retry_all_errors: _,
        connect_timeout: _,
        first_byte_timeout: _,
        speed_limit: _,
        speed_time: _,
        max_time: _,
        max_errors: _,
        fail_early: _,
        max_memory: _,
        window: _,
        // What the run shows, and how it begins.
        write_out: _,
        waterfall: _,
        report: _,
        summary: _,
        manifest: _,
        resume: _,
        retry_failed: _,
        overwrite: _,
        durability: _,
        dry_run: _,
        progress: _,
        silent: _,
        verbose: _,
        help: _,
        // What is in it.
        config: _,
        // Without effect.
        parallel: _,
        location: _,
        show_error: _,
        compressed: _,
    } = flags;
    let urls = inputs.iter().filter(|word| !word.starts_with('@') && *word != "-");
    let urls: Vec<_> = urls.map(|word| redact(word).into_owned()).collect();
    // A URL that ends with a slash is completed with the name of the file.
    let upload = upload_file.as_deref().and_then(|file| Path::new(file).file_name());
    [
        ("URLs", urls.join(" ")),
        ("-g", globoff.to_string()),
        ("-T", upload.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()),
        ("-G", get.to_string()),
        ("query", query.map(|query| fingerprint(query.as_bytes())).unwrap_or_default()),
        ("--name", name.clone().unwrap_or_default()),
        ("--csv-safe", csv_safe.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .chain(cdxj.then(|| ("--cdxj".to_owned(), cdxj.to_string())))
    // Without an archive it is a setting of the engine.
    .chain((*no_body && has_archive).then(|| ("--no-body".to_owned(), no_body.to_string())))
    .collect()
}
