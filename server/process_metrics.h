// private header
#pragma once

#include <memory>

#include "prometheus/collectable.h"

namespace vitower {

// The usual process_* metrics, read from /proc/self at every scrape. Included by metrics.cc only.
std::shared_ptr<prometheus::Collectable> MakeProcessMetrics();

}  // namespace vitower
