#pragma once

#include <string_view>

namespace vitower {

// The page on "/" of the metrics port: one HTML file without outside resources, which asks the same port for /metrics
// and computes what it shows from that. Made from status_page.html when the build is configured.
std::string_view StatusPage();

}  // namespace vitower
