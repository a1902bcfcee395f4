#include "worker/llama_params.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <system_error>

#include "chat.h"
#include "domain/errors.h"
#include "gguf.h"
#include "log.h"
#include "worker/step_pacer.h"

namespace glowplug::worker {
namespace {

Error rejected(std::string message) {
  return Error{std::string(domain::error::kModelRejected), std::move(message), {}};
}

constexpr int kGpuBatch = 512;  // llama.cpp's own default for one physical batch
// On a CPU the fused attention kernel decodes quicker while an answer is within about 200 tokens,
// the separate products beyond, and they read prompts 1.6 times as fast in steps this short.
// docs/decisions has the figures.
constexpr int kFusedAttentionContextMax = 2048;

// What the file's header says about pooling; UNSPECIFIED when it says nothing.
struct HeaderFacts {
  enum llama_pooling_type pooling = LLAMA_POOLING_TYPE_UNSPECIFIED;
  bool classifier_head = false;
  std::uint32_t head_size = 0;  // the smaller of K's and V's; 0 when the header does not say
};

// A whole number of the header; 0 when it has none, or one for each layer.
std::uint32_t number_at(const gguf_context* header, const std::string& key) {
  const auto at = gguf_find_key(header, key.c_str());
  return at >= 0 && gguf_get_kv_type(header, at) == GGUF_TYPE_UINT32 ? gguf_get_val_u32(header, at)
                                                                     : 0;
}

// As the engine derives it.
std::uint32_t head_size_of(const gguf_context* header, const std::string& architecture) {
  const std::uint32_t width = number_at(header, architecture + ".embedding_length");
  const std::uint32_t heads = number_at(header, architecture + ".attention.head_count");
  const std::uint32_t plain = heads > 0 ? width / heads : 0;
  const std::uint32_t k = number_at(header, architecture + ".attention.key_length");
  const std::uint32_t v = number_at(header, architecture + ".attention.value_length");
  return std::min(k > 0 ? k : plain, v > 0 ? v : plain);
}

Result<HeaderFacts> read_header(const std::string& path) {
  const gguf_init_params no_data{/*.no_alloc =*/true, /*.ctx =*/nullptr};
  const std::unique_ptr<gguf_context, decltype(&gguf_free)> header(
      gguf_init_from_file(path.c_str(), no_data), &gguf_free);
  if (!header)
    return rejected("the model file is damaged or no GGUF file: its header cannot be read");
  HeaderFacts facts;
  facts.classifier_head = gguf_find_tensor(header.get(), "cls.weight") >= 0 ||
                          gguf_find_tensor(header.get(), "cls.output.weight") >= 0;
  const auto architecture = gguf_find_key(header.get(), "general.architecture");
  if (architecture < 0 || gguf_get_kv_type(header.get(), architecture) != GGUF_TYPE_STRING)
    return facts;
  const std::string name = gguf_get_val_str(header.get(), architecture);
  facts.head_size = head_size_of(header.get(), name);
  const auto pooling = gguf_find_key(header.get(), (name + ".pooling_type").c_str());
  if (pooling >= 0 && gguf_get_kv_type(header.get(), pooling) == GGUF_TYPE_UINT32) {
    facts.pooling = static_cast<enum llama_pooling_type>(gguf_get_val_u32(header.get(), pooling));
  }
  return facts;
}

Result<void> set_task(common_params& params, const Options& options) {
  if (options.task == Task::kGenerate) return {};
  const auto header = read_header(options.model_path);
  if (!header) return header.error();
  params.embedding = true;
  // A model without causal attention sees a whole input at once, so the step must hold the longest
  // one.
  params.n_batch = std::max(params.n_batch, options.context);
  params.n_ubatch = params.n_batch;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;  // a step this long needs the fused kernel
  if (options.task == Task::kRerank) {
    if (header->pooling != LLAMA_POOLING_TYPE_RANK && !header->classifier_head) {
      return rejected(
          "the model has no rank pooling and no classifier head, so it cannot rerank; deploy a "
          "reranker "
          "model or set task to embed or generate");
    }
    params.pooling_type = LLAMA_POOLING_TYPE_RANK;
  } else if (header->pooling == LLAMA_POOLING_TYPE_RANK) {
    return rejected("the model is a reranker and gives no embeddings; set task to rerank");
  } else if (header->pooling == LLAMA_POOLING_TYPE_UNSPECIFIED ||
             header->pooling == LLAMA_POOLING_TYPE_NONE) {
    params.pooling_type = LLAMA_POOLING_TYPE_MEAN;
  }
  return {};
}

// The engine lays a quantised cache out in blocks, and reads a quantised V with the fused attention
// kernel alone.
Result<void> set_cache(common_params& params, const Options& options) {
  if (options.tuning.kv != domain::KvType::Q8_0) return {};
  const auto header = read_header(options.model_path);
  if (!header) return header.error();
  const auto block = static_cast<std::uint32_t>(ggml_blck_size(GGML_TYPE_Q8_0));
  if (header->head_size % block != 0)
    return rejected("tuning.kv: q8_0 needs heads of a multiple of " + std::to_string(block) +
                    ", and this model's have " + std::to_string(header->head_size) +
                    "; set tuning.kv to f16");
  params.cache_type_k = GGML_TYPE_Q8_0;
  params.cache_type_v = GGML_TYPE_Q8_0;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
  return {};
}

Result<void> set_chat_template(common_params& params, const std::string& path) {
  if (path.empty()) return {};
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return rejected("the chat template file " + path + " cannot be read: " + std::strerror(errno));
  }
  params.chat_template = text.str();
  if (!common_chat_verify_template(params.chat_template, params.use_jinja)) {
    return rejected("the chat template in " + path + " is no valid Jinja template");
  }
  return {};
}

}  // namespace

Result<common_params> engine_params(const Options& options) {
  std::error_code failure;
  const auto bytes = std::filesystem::file_size(options.model_path, failure);
  if (failure)
    return rejected("the model file " + options.model_path +
                    " cannot be read: " + failure.message());

  common_params params;
  params.model.path = options.model_path;
  params.hostnames = {options.socket_path};
  params.verbosity = LOG_LEVEL_WARN;

  params.n_parallel = options.slots;
  params.n_ctx = options.context * options.slots;
  // A cache for each slot: in one pool every step attends over the cells of all slots.
  params.kv_unified = false;
  params.kv_unified_per_slot = options.context;
  params.ctx_shift = false;
  // A slot may then be cut anywhere. Without it the engine cuts only at its context checkpoints,
  // and takes nothing of a restored state, which has none.
  params.swa_full = true;
  params.cache_ram_mib = 0;         // prompt states outside the server's memory ledger
  params.cache_idle_slots = false;  // the same, and one caller's conversation could reach another
  params.load_mode = LLAMA_LOAD_MODE_MMAP;
  params.fit_params = false;  // admission decides what fits, before this process exists

  // A template forks, and only the calling thread survives that: a pool of one has no other.
  params.cpuparams.n_threads = options.is_template ? 1 : options.threads;
  params.cpuparams.poll = 0;  // an idle or waiting pool takes no core from a neighbour
  params.cpuparams_batch = params.cpuparams;
  params.n_threads_http = options.slots + 4;  // a full house still answers /health

  const bool gpu = llama_supports_gpu_offload();
  // A step must have room for one token of every slot, and for some of a prompt beside them.
  const int batch_auto = gpu ? kGpuBatch : batch_for_step(bytes, options.cores);
  params.n_batch = std::max(options.tuning.batch > 0 ? options.tuning.batch : batch_auto,
                            options.slots + kPromptTokensMin);
  params.n_ubatch = params.n_batch;
  params.flash_attn_type = gpu || options.context <= kFusedAttentionContextMax
                               ? LLAMA_FLASH_ATTN_TYPE_AUTO
                               : LLAMA_FLASH_ATTN_TYPE_DISABLED;

  params.no_extra_bufts = options.tuning.repack == domain::Repack::Off;

  params.use_jinja = true;
  params.ui = false;
  params.endpoint_slots = false;
  params.cors_origins =
      "localhost";  // only the server talks to this socket; no CORS headers in its replies
  params.sse_ping_interval = -1;  // the gateway keeps its clients' connections alive itself

  if (auto set = set_task(params, options); !set) return set.error();
  if (auto set = set_cache(params, options); !set) return set.error();
  if (auto set = set_chat_template(params, options.chat_template_path); !set) return set.error();
  return params;
}

}  // namespace glowplug::worker
