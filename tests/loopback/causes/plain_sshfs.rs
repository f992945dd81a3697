//! The same causes through sshfs as it is without a driver.

pub fn each_cause_has_one_text_where_plain_sshfs_has_few() {}
