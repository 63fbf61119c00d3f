{#-
    The parts of a key as one text. A joiner that a part holds is escaped, so that no two lists of parts give one key; no
    value is an empty part. What a stranger sent may be longer than a row of an index (2,704 bytes): a long key is its
    beginning and the hash of the whole, after a backslash that escapes nothing, which no other key has.
-#}
{% macro joined_key(parts) -%}
    {%- set escaped = [] -%}
    {%- for part in parts %}{% do escaped.append("replace(replace(coalesce(" ~ part ~ ", ''), '\\', '\\\\'), ':', '\\:')") %}{% endfor -%}
    {%- set key = escaped | join(" || ':' || ") -%}
    case
        when octet_length({{ key }}) <= 500 then {{ key }}
        else
            rtrim(left({{ key }}, 100), '\') || '\'
            || encode(sha256(convert_to({{ key }}, 'UTF8')), 'hex')
    end
{%- endmacro %}


{#- A stranger's id as an index holds it. Whoever asks by it compares the id itself too. -#}
{% macro hashed_id(column) -%}
    hashtextextended({{ column }}, 0)
{%- endmacro %}
