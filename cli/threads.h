#pragma once

namespace vitower {

// What --threads and --preprocess-threads mean: `wanted`, or where it is 0 one for each core that this process may use,
// its CPU quota rounded up.
int ThreadCount(int wanted);

}  // namespace vitower
