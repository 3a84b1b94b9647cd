from tasktrace.cluster.accounts import parse_accounts, read_accounts, user_name


def test_accounts_are_read_from_what_sacctmgr_printed(captured):
    printed = [captured("accounts", name) for name in ("associations", "user", "qos")]
    accounts = parse_accounts("someone", *printed)
    assert accounts.default == "mtl"
    assert accounts.qos == {"other": {"normal"}, "mtl": {"long", "normal"}}
    assert accounts.max_minutes == {"normal": None, "long": 2880, "gpu-short": None}


def test_an_account_that_stands_once_for_each_partition_has_the_qos_of_all():
    accounts = parse_accounts("someone", "mtl|normal\nmtl|long\n|\n", "\n", "")
    assert accounts.qos == {"mtl": {"normal", "long"}}
    assert accounts.default is None


def test_only_this_cluster_and_this_user_are_asked_for(commands):
    printed = commands("accounts", sacctmgr='echo "$@" >> asked')
    read_accounts("second")
    asked = (printed / "asked").read_text().splitlines()
    assert f" associations user={user_name()} cluster=second format=" in asked[0]
    assert f" user {user_name()} format=" in asked[1]
