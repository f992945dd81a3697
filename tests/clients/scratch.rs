use crate::lab::{Lab, poll};
use anyhow::Result;
use std::time::Duration;
crate::cases![hold];
fn hold(lab: &Lab) -> Result<()> {
    let release = lab.host.release();
    let dir = format!("/tmp/imgscratch/{release}");
    std::fs::create_dir_all(&dir)?;
    poll::until_true("the end", Duration::from_secs(3000), || {
        if let Ok(script) = std::fs::read_to_string(format!("{dir}/in")) {
            std::fs::remove_file(format!("{dir}/in"))?;
            let out = lab.host.try_sh_within(&script, Duration::from_secs(120))?;
            std::fs::write(
                format!("{dir}/tmp"),
                format!("{}\n--err--\n{}\nstatus {}\n", out.stdout, out.stderr, out.status),
            )?;
            std::fs::rename(format!("{dir}/tmp"), format!("{dir}/out"))?;
        }
        if let Ok(script) = std::fs::read_to_string(format!("{dir}/sin")) {
            std::fs::remove_file(format!("{dir}/sin"))?;
            let out = lab.server.try_sh_within(&script, Duration::from_secs(120))?;
            std::fs::write(
                format!("{dir}/tmp"),
                format!("{}\n--err--\n{}\nstatus {}\n", out.stdout, out.stderr, out.status),
            )?;
            std::fs::rename(format!("{dir}/tmp"), format!("{dir}/out"))?;
        }
        Ok(std::path::Path::new(&format!("{dir}/stop")).exists())
    })
}
