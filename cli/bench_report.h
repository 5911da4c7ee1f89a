#pragma once

#include <string>
#include <vector>

#include "cli/bench_mix.h"
#include "cli/bench_recorder.h"

namespace vitower {

// What a run was asked to do, as it stands in its report.
struct BenchSetting {
  std::vector<std::string> servers;
  std::vector<MixPart> mix;
  std::string load;  // "closed loop, 8 in flight"
};

// A table to read, and the same as JSON with seconds, bytes and counts. Both read the percentiles, for which the
// samples are sorted.
std::string BenchText(const BenchSetting& setting, BenchTotals& totals);
std::string BenchJson(const BenchSetting& setting, BenchTotals& totals);

}  // namespace vitower
