"""Write the CT stand-in (rule make_ct_standin)."""

from tubepet import logs
from tubepet.ct import standin

logs.start_log(snakemake.log[0])
params = snakemake.params
counts = standin.write_standin(
    snakemake.output.folder, params.num_patients, params.num_slices, params.seed
)
logs.log.info("0 slices in, %(num_slices)d out (%(num_patients)d patients)", counts)
