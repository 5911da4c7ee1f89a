#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace vitower {

// The variables of this process's environment that begin with VITOWER_ and are not empty.
std::vector<std::string> VitowerVariables();

// INVALID_ARGUMENT, naming the variable and the nearest one there is, where one of `variables` belongs to none of the
// options: a typing error would otherwise leave a default in place unseen. Passed over are what the scripts, tests and
// compose file of this project read (VITOWER_BIN_DIR, VITOWER_GOLDEN_DIR, VITOWER_GPU_IMAGE, VITOWER_IMAGE,
// VITOWER_LOAD_SECONDS, VITOWER_MEMORY, VITOWER_SCREENSHOTS, VITOWER_TEST_SEED, VITOWER_TORCH_GPU_INDEX,
// VITOWER_TORCH_INDEX, VITOWER_TORCH_ROOT) and what Kubernetes sets in every pod beside a service named vitower
// (VITOWER_SERVICE_HOST, VITOWER_PORT_50051_TCP, ...).
absl::Status CheckVariables(absl::Span<const std::string> variables, const std::set<std::string>& option_names);

}  // namespace vitower
