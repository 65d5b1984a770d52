"""Lines of a jobcomp log."""

_USUAL = {
    "UserId": "bob(1002)",
    "GroupId": "staff(50)",
    "Name": "wrap",
    "Partition": "batch",
    "NodeList": "node1",
    "WorkDir": "/",
    "Tres": "Tres=cpu=4,mem=64M",
    "Account": "physics",
    "QOS": "normal",
    "Ids": "",
}


def line(job: int, start: str, end: str, state: str = "COMPLETED", **values: str) -> str:
    """An entry of the log; start and end are local times.

    Tres is the key too, since older releases have another; Ids are those of an array or het job.
    """
    v = {**_USUAL, "Submit": start, "Eligible": values.get("Submit", start), **values}
    return (
        f"JobId={job} UserId={v['UserId']} GroupId={v['GroupId']} Name={v['Name']} JobState={state}"
        f" Partition={v['Partition']} TimeLimit=30 StartTime={start} EndTime={end}"
        f" NodeList={v['NodeList']} NodeCnt=1 ProcCnt=4 WorkDir={v['WorkDir']} ReservationName="
        f" {v['Tres']} Account={v['Account']} QOS={v['QOS']} WcKey= Cluster=lab"
        f" SubmitTime={v['Submit']} EligibleTime={v['Eligible']}{v['Ids']}"
        " DerivedExitCode=0:0 ExitCode=0:0 \n"
    )
