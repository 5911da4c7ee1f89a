#pragma once

namespace vitower {

// The cores this process may use: its affinity mask, cut down to the CPU quota of its control group. At least 1.
int UsableCores();

}  // namespace vitower
